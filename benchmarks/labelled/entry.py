"""What an entry of the labelled set is, and how an attacker who knows everything looks at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

import sparring as sp
from sparring.data import load
from sparring.gradients import Smoothed, Transfer

Kind = Literal["masked", "honest"]
Knows = Callable[[nn.Module], Sequence[sp.Model]]
IMAGES = 200


def digits(relabel: Callable[[Tensor], Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """The first 200 test digits, twenty of each class."""
    examples = load("digits", limit=IMAGES)
    return examples.x, examples.y if relabel is None else relabel(examples.y)


def nothing(net: nn.Module) -> Sequence[sp.Model]:
    """There is nothing to know: the network as it is."""
    return ()


@dataclass(frozen=True)
class Entry:
    """A model of the set.

    family: what it is, one word for alike mechanisms. expected: the label we expect; the measured one counts.
    make: the network on [0, 1] of a seed. knows: the views of it that full knowledge gives, beside its own.
    foreign: nothing in it is sparring's. collapsed: labelled by FGSM against the best attack, not by PGD.
    slow: a pass takes long; fewer are spent on it.
    """

    family: str
    expected: Kind
    threat: Any
    make: Callable[[int], nn.Module]
    knows: Knows = nothing
    foreign: bool = True
    collapsed: bool = False
    slow: bool = False
    data: Callable[[], tuple[Tensor, Tensor]] = digits


def through(surrogate: Any = "identity", eot: int = 1) -> Knows:
    """Backward, something smooth stands in for the module `front`."""
    return lambda net: (sp.Model(net, bpda={"front": surrogate}, eot=eot),)


def beside(*twins: Callable[[Any], nn.Module], eot: int = 1) -> Knows:
    """The gradients of honest twins made from the network."""
    return lambda net: [sp.Model(net, eot=eot, gradients=Transfer(twin(net))) for twin in twins]


def averaged(eot: int = 8) -> Knows:
    """The mean over draws."""
    return lambda net: (sp.Model(net, eot=eot),)


def smoothed(radius: float, samples: int = 8) -> Knows:
    """The mean gradient of the neighbourhood."""
    return lambda net: (sp.Model(net, gradients=Smoothed(samples, radius)),)


def every(*knows: Knows) -> Knows:
    """All of them."""
    return lambda net: [view for know in knows for view in know(net)]


def inside(net: Any) -> nn.Module:
    """The network inside a wrapper or behind a front."""
    inner: nn.Module = net.net
    return inner


def untrained(net: nn.Module, seed: int) -> nn.Module:
    """The same architecture with new weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in net.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    return net

"""C: nothing inside a certified radius can be broken. Where a certificate exists, an attack that breaks it is a bug.

Interval bounds (Gowal et al. 2018, section 3) of plain sequences of layers.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparring.auditing.finding import Finding
from sparring.auditing.subject import Subject
from sparring.model import Model, logits_of
from sparring.rows import column
from sparring.threats.linf import LinfBall


def certificate(subject: Subject, broken: Tensor) -> Finding | None:
    """Whether an attack broke an example that interval bounds certify; None where the network is not of that kind."""
    region = subject.problem.region
    if not isinstance(region, LinfBall):
        return None
    radius = column(region.radius, region.centre)
    low = torch.maximum(region.centre - radius, region.low)
    high = torch.minimum(region.centre + radius, region.high)
    bounds = intervals(subject.model, low, high)
    subject.forwards += known(subject.model)  # one look, at one example
    if bounds is None:
        return None
    label = subject.problem.goal.label[:, None]
    others = bounds[1].scatter(1, label, -torch.inf).amax(1)
    certified = bounds[0].gather(1, label).squeeze(1) > others
    wrong = int((certified & broken).sum())
    told = f"interval bounds certify {int(certified.sum())} of {len(certified)} examples, attacks broke {wrong} of them"
    return Finding("C certificate", float(wrong), 0.0, wrong > 0, "unreliable", told)


def intervals(model: Model, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor] | None:
    """Bounds of the logits (N, K) over the box of inputs; None where a layer is of no known kind."""
    net = model.net
    layers = sequence(model, net, low[:1]) if isinstance(net, nn.Module) and known(model) else None
    if not isinstance(net, nn.Module) or layers is None:
        return None
    centre, radius = (low.double() + high.double()) / 2, (high.double() - low.double()) / 2
    with torch.no_grad():
        for layer in layers:
            centre, radius = _through(layer, centre, radius)
    # Rounding in the network's own precision may leave its logits a little outside.
    eps = max(torch.finfo(one.dtype).eps for one in (low, *net.parameters()))
    slack = 1000 * eps * (1 + column(centre.abs().reshape(len(low), -1).amax(1), centre))
    lower, upper = (logits_of(edge, len(low)) for edge in (centre - radius - slack, centre + radius + slack))
    return lower, upper


def known(model: Model) -> bool:
    """Whether the network has none but layers with bounds, at rest, and nothing stands before or between them."""
    net = model.net
    if not isinstance(net, nn.Module) or model.eot > 1 or model.mean is not None or model.std is not None:
        return False
    if any(one._forward_hooks or one._forward_pre_hooks for one in net.modules()):
        return False
    # A subclass may compute something else.
    return all(type(leaf) in KNOWN and not _random(leaf) for leaf in _leaves(net))


def _leaves(net: nn.Module) -> list[nn.Module]:
    return [module for module in net.modules() if not list(module.children())]


@dataclass(frozen=True)
class Call:
    """A layer's call: what it was given and gave, and how often either had been written to by then."""

    layer: nn.Module
    taken: Any
    taken_version: int
    given: Any
    given_version: int


def sequence(model: Model, net: nn.Module, x: Tensor) -> list[nn.Module] | None:
    """The layers of a known `net`, where each hands its output, as it is, to the next; else None."""
    leaves = _leaves(net)
    calls: list[Call] = []
    versions: list[int] = []

    def before(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        versions.append(_version(inputs[0] if inputs else None))

    def after(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls.append(Call(layer, inputs[0] if inputs else None, versions.pop(), output, _version(output)))

    watched = (*leaves, *([net] if net not in leaves else []))
    handles = [
        handle
        for module in watched
        for handle in (module.register_forward_pre_hook(before), module.register_forward_hook(after))
    ]
    try:
        with torch.no_grad():
            model.once(x)
    finally:
        for handle in handles:
            handle.remove()
    *inner, whole = calls if net not in leaves else [*calls, *calls]
    if not all(isinstance(one, Tensor) for call in calls for one in (call.taken, call.given)):
        return None
    now, version = whole.taken, whole.taken_version
    for call in inner:
        if call.taken is not now or call.taken_version != version:
            return None
        now, version = call.given, call.given_version
    return [call.layer for call in inner] if now is whole.given and version == whole.given_version else None


def _version(value: Any) -> int:
    return value._version if isinstance(value, Tensor) else 0


def _random(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Dropout) and layer.training and layer.p > 0


KNOWN = (nn.Linear, nn.Conv2d, nn.ReLU, nn.Flatten, nn.AvgPool2d, nn.MaxPool2d, nn.Dropout, nn.Identity)


def _through(layer: nn.Module, centre: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    match layer:
        case nn.Linear():
            weight = layer.weight.double()
            moved = functional.linear(centre, weight, None if layer.bias is None else layer.bias.double())
            return moved, functional.linear(radius, weight.abs())
        case nn.Conv2d():
            conv, spread = (copy.deepcopy(layer).double() for _ in range(2))
            spread.weight.abs_()
            spread.bias = None
            return conv(centre), spread(radius)
        case nn.Dropout() | nn.Identity():
            return centre, radius
        case nn.Flatten() | nn.AvgPool2d():
            return layer(centre), layer(radius)
    high, low = layer(centre + radius), layer(centre - radius)  # what never falls when its input rises
    return (high + low) / 2, (high - low) / 2

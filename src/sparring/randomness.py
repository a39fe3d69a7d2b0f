"""What a randomised module draws from: the stream of the look being taken, addressed by example and step.

While attacking, the oracle publishes which examples are looked at and for which time, so that a random number is a
function of (seed, path, example index, step) and no batch changes it. Outside of an attack it is torch's generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sparring.draws import Draws


@dataclass
class Look:
    """The rows being looked at: index (N,), and slot (N,), where `looks` counts how often each was looked at before."""

    draws: Draws
    index: Tensor
    slot: Tensor
    looks: Tensor
    asked: int = 0  # several modules may draw in one look, each from a stream of its own

    @cached_property
    def step(self) -> Tensor:
        """(N,) the row's clock. A row that stands several times in one look ticks each time."""
        order = self.slot.argsort(stable=True)
        ordered = self.slot[order]
        places = torch.arange(len(order), device=order.device)
        begins = torch.cat([places[:1], places[1:] * (ordered[1:] != ordered[:-1])]).cummax(0).values
        return self.looks[self.slot] + torch.empty_like(places).scatter_(0, order, places - begins)

    def stream(self) -> Draws:
        """The next module's stream."""
        self.asked += 1
        return self.draws.at("model", self.asked)


_LOOK: ContextVar[Look | None] = ContextVar("look", default=None)


@contextmanager
def looking(draws: Draws, index: Tensor, slot: Tensor, looks: Tensor) -> Iterator[None]:
    """Inside, randomised modules draw for these rows."""
    token = _LOOK.set(Look(draws, index, slot, looks))
    try:
        yield
    finally:
        _LOOK.reset(token)


def normal(x: Tensor, shape: Sequence[int] | None = None) -> Tensor:
    """(N, *shape) standard normal numbers for the N rows of x, of its dtype and device; by default one an entry."""
    return _drawn(x, shape, Draws.normal, torch.randn)


def uniform(x: Tensor, shape: Sequence[int] | None = None) -> Tensor:
    """(N, *shape) numbers in [0, 1) for the N rows of x, of its dtype and device; by default one an entry."""
    return _drawn(x, shape, Draws.uniform, torch.rand)


def _drawn(
    x: Tensor, shape: Sequence[int] | None, addressed: Callable[..., Tensor], consumed: Callable[..., Tensor]
) -> Tensor:
    wanted = tuple(x.shape[1:]) if shape is None else tuple(shape)
    look = _LOOK.get()
    if look is None or len(look.index) != len(x):
        return consumed(len(x), *wanted, dtype=x.dtype, device=x.device)
    return addressed(look.stream(), look.index, look.step, wanted, x.dtype).to(x.device)

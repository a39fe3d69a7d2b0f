"""Where the gradient an attack follows comes from, when the model's own is no use.

`sp.Model(net, gradients=…)` takes one of these; every attack then follows it, and still is judged by the model itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from sparring.errors import InputError
from sparring.randomness import normal
from sparring.values import Count, Positive, check_fields


class Ask(Protocol):
    """What an estimator may ask; every pass is counted."""

    def score(self, x: Tensor) -> Tensor:
        """(N,) the objective at x: one forward a row."""
        ...

    def gradient(self, x: Tensor, model: nn.Module | None = None) -> Tensor:
        """The objective's gradient at x, by the model's own graph or another model's: one forward, one backward."""
        ...


class Estimator(Protocol):
    """A frozen value; its repr is its provenance."""

    def __call__(self, x: Tensor, width: float, ask: Ask) -> Tensor:
        """The gradient (N, …) at x; `width` is that of the input range."""
        ...


@dataclass(frozen=True)
class FiniteDifferences:
    """Random two-sided differences: 2 · samples forwards a gradient and no backward (Nesterov & Spokoiny 2017; NES).

    radius: the length of a difference in each entry, as a share of the input range.
    """

    samples: Count = 32
    radius: Positive = 0.03

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, x: Tensor, width: float, ask: Ask) -> Tensor:
        total, step = torch.zeros_like(x), self.radius * width
        for _ in range(self.samples):
            direction = normal(x)
            rise = ask.score(x + step * direction) - ask.score(x - step * direction)
            total += rise.reshape(-1, *[1] * (x.ndim - 1)).to(x) * direction
        return total / (2 * step * self.samples)


@dataclass(frozen=True)
class Smoothed:
    """The mean of the model's own gradients at normal random points around x, for gradients that are shattered.

    radius: the standard deviation, as a share of the input range.
    """

    samples: Count = 16
    radius: Positive = 0.03

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, x: Tensor, width: float, ask: Ask) -> Tensor:
        total = torch.zeros_like(x)
        for _ in range(self.samples):
            total += ask.gradient(x + self.radius * width * normal(x))
        return total / self.samples


@dataclass(frozen=True)
class Transfer:
    """The gradient of another model at the same point (Papernot et al. 2017): white box there, judged here."""

    surrogate: nn.Module

    def __post_init__(self) -> None:
        if not isinstance(self.surrogate, nn.Module):
            raise InputError(
                f"Transfer has surrogate={self.surrogate!r}; give a module, or wrap it: sp.Model(surrogate)"
            )

    def __call__(self, x: Tensor, width: float, ask: Ask) -> Tensor:
        return ask.gradient(x, self.surrogate)

    def __repr__(self) -> str:
        return f"Transfer({type(self.surrogate).__name__})"

"""Adversarial training with one gradient an example: from a random start, one long step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sparring.defenses.context import Context
from sparring.defenses.defense import Defense
from sparring.values import Amount


@dataclass(frozen=True)
class FGSMRS(Defense):
    """FGSM from a random start, projected (Wong, Rice & Kolter 2020, "Fast is better than free", algorithm 3).

    noise: the radius of the start, and step: the length of the step, both as shares of the threat's radius.
    """

    noise: Amount = 1.0
    step: Amount = 1.25
    inside: ClassVar[bool] = True  # whether the point is brought back into the threat
    attacked: ClassVar[bool] = True
    promise: ClassVar[str] = "robust accuracy inside the threat at under twice the cost of natural training"
    broken_by: ClassVar[str] = "PGD, after catastrophic overfitting: sudden, and likely at large radii"

    def loss(self, context: Context) -> Tensor:
        moved = context.once(self, lambda: self.moved(context))
        return context.cross_entropy(context.logits(moved))

    def moved(self, context: Context) -> Tensor:
        """(N, …) the examples learned from."""
        region = context.region
        start = region.resized(region.radius * self.noise).sample(context.draws("single step"), context.index, 0)
        moved = region.moved(start, context.seen(start).gradient, self.step)
        return (region if self.inside else region.unbounded()).project(moved)


@dataclass(frozen=True)
class NFGSM(FGSMRS):
    """More noise and no projection (de Jorge et al. 2022, "Make some noise", algorithm 1); kept in the input range.

    noise: the radius of the start, and step: the length of the step, both as shares of the threat's radius.
    """

    noise: Amount = 2.0
    step: Amount = 1.0
    inside: ClassVar[bool] = False
    broken_by: ClassVar[str] = "larger radii; three points below PGD training"

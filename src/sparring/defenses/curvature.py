"""CURE (Moosavi-Dezfooli et al. 2019, "Robustness via curvature regularization, and vice versa", section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sparring.defenses.context import Context, pulled
from sparring.defenses.defense import Defense
from sparring.values import Amount


@dataclass(frozen=True)
class CURE(Defense):
    """A penalty: strength · ||slope(x + h) - slope(x)||², h along the steepest direction of the threat.

    slope: the gradient of cross-entropy by the input. reach: the length of h as a share of the threat's radius
    (the authors' is 1.7 of 8/255).
    """

    strength: Amount = 4.0
    reach: Amount = 1.5
    teaches: ClassVar[bool] = False
    differentiates: ClassVar[bool] = True
    attacked: ClassVar[bool] = True
    promise: ClassVar[str] = "a loss that curves little around the examples"
    broken_by: ClassVar[str] = "AutoAttack, three points below its authors' figure"

    def loss(self, context: Context) -> Tensor:
        region, x, slope = context.region, context.x.detach(), context.slope
        there = region.unbounded().project(region.moved(x, slope.detach(), self.reach)).requires_grad_(True)
        other = pulled(context.cross_entropy(context.logits(there)).sum(), there)
        return self.strength * (other - slope).flatten(1).square().sum(1)

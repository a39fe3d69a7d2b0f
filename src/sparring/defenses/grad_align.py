"""GradAlign (Andriushchenko & Flammarion 2020, "Understanding and improving fast adversarial training", section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from sparring.defenses.context import Context, viewed
from sparring.defenses.defense import Defense, check_positive
from sparring.problem import Region
from sparring.rows import column


@dataclass(frozen=True)
class GradAlign(Defense):
    """FGSM training + strength · (1 - cos(slope(x), slope(x + u))), u uniform in the threat.

    The slope at x makes the FGSM step and stands still in the cosine; only the one at x + u is differentiated.
    """

    strength: float = 0.2
    differentiates: ClassVar[bool] = True
    attacked: ClassVar[bool] = True
    promise: ClassVar[str] = "FGSM training without catastrophic overfitting"
    broken_by: ClassVar[str] = "larger radii; N-FGSM does the same for a third of the cost"

    def __post_init__(self) -> None:
        check_positive(self, strength=self.strength)

    def loss(self, context: Context) -> Tensor:
        region, x = context.region, context.x.detach()
        slope = context.once(self, lambda: context.seen(x).gradient)
        moved = context.once((self, "moved"), lambda: self._step(region, x, slope))
        near = region.sample(context.draws("grad align"), context.index, 0).requires_grad_(True)
        # Evaluation mode for both slopes: BatchNorm's training statistics would turn one against the other.
        logits = viewed(context.model, "eval")(near)
        (other,) = torch.autograd.grad(context.cross_entropy(logits).sum(), near, create_graph=True)
        apart = 1 - functional.cosine_similarity(slope.flatten(1), other.flatten(1), dim=1)
        return context.cross_entropy(context.logits(moved)) + self.strength * apart

    def _step(self, region: Region, x: Tensor, slope: Tensor) -> Tensor:
        return region.project(x + column(region.reach, x) * region.steepest(slope, x))

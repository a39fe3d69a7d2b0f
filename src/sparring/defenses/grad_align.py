"""GradAlign (Andriushchenko & Flammarion 2020, "Understanding and improving fast adversarial training", section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from sparring.defenses.context import Context, pulled, viewed
from sparring.defenses.defense import Defense
from sparring.values import Amount


@dataclass(frozen=True)
class GradAlign(Defense):
    """FGSM training + strength · (1 - cos(slope(x), slope(x + u))), u uniform in the threat.

    The slope at x makes the FGSM step and stands still in the cosine; only the one at x + u is differentiated.
    """

    strength: Amount = 0.2
    differentiates: ClassVar[bool] = True
    attacked: ClassVar[bool] = True
    promise: ClassVar[str] = "FGSM training without catastrophic overfitting"
    broken_by: ClassVar[str] = "larger radii; N-FGSM does the same for a third of the cost"

    def loss(self, context: Context) -> Tensor:
        region, x = context.region, context.x.detach()
        slope = context.once(self, lambda: context.seen(x).gradient)
        moved = context.once((self, "moved"), lambda: region.project(region.moved(x, slope)))
        near = region.sample(context.draws("grad align"), context.index, 0).requires_grad_(True)
        # Evaluation mode for both slopes: BatchNorm's training statistics would turn one against the other.
        # They are copied, for a later look in training mode moves them before the weights' gradient is taken.
        view = viewed(context.model, "eval")
        logits = functional_call(view, {name: buffer.clone() for name, buffer in view.named_buffers()}, (near,))
        other = pulled(context.cross_entropy(logits).sum(), near)
        apart = 1 - functional.cosine_similarity(slope.flatten(1), other.flatten(1), dim=1)
        return context.cross_entropy(context.logits(moved)) + self.strength * apart

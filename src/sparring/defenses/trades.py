"""TRADES (Zhang et al. 2019, "Theoretically principled trade-off between robustness and accuracy", equation 5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from sparring.attacks import PGD, Attack
from sparring.defenses.context import Context
from sparring.defenses.defense import Defense
from sparring.objectives import divergence
from sparring.values import Amount


@dataclass(frozen=True)
class TRADES(Defense):
    """CE(f(x), y) + beta · KL(p(x) || p(x')), x' climbing away from what the model says of x in evaluation mode.

    beta: 1 leans to clean accuracy, 6 to robust. The sum is over classes, the mean over examples.
    The start is uniform in the threat; the authors' starts 0.001 away from x.
    """

    beta: Amount = 6.0
    attack: Attack = field(default_factory=lambda: PGD(steps=10, objective="kl"))
    attacked: ClassVar[bool] = True
    promise: ClassVar[str] = "robust accuracy inside the threat, traded against clean accuracy by beta"
    broken_by: ClassVar[str] = "larger radii and other norms"

    def loss(self, context: Context) -> Tensor:
        moved = context.adversarial(self.attack)
        clean, attacked = context.logits(context.x), context.logits(moved)
        return context.cross_entropy(clean) + self.beta * divergence(clean, attacked)

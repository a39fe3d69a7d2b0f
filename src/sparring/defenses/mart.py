"""MART (Wang et al. 2020, "Improving adversarial robustness requires revisiting misclassified examples")."""

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
class MART(Defense):
    """Boosted CE(f(x'), y) + weight · KL(p(x) || p(x')) · (1 - p_y(x)): examples it gets wrong weigh more.

    The boosted cross-entropy is -log p_y(x') - log(1 - max over the wrong classes of p(x')) (section 3.2).
    """

    weight: Amount = 5.0
    attack: Attack = field(default_factory=lambda: PGD(steps=10))
    attacked: ClassVar[bool] = True
    promise: ClassVar[str] = "robust accuracy inside the threat, with more weight on misclassified examples"
    broken_by: ClassVar[str] = "margin losses and AutoAttack, which find several points more than PGD"

    def loss(self, context: Context) -> Tensor:
        moved = context.adversarial(self.attack)
        clean, attacked = context.logits(context.x), context.logits(moved)
        own = context.y[:, None]
        wrong = attacked.softmax(1).scatter(1, own, 0.0).amax(1)
        boosted = context.cross_entropy(attacked) - (1.0001 - wrong).log()  # 1.0001: no log(0) where p is 1
        doubt = 1 - clean.softmax(1).gather(1, own).squeeze(1)
        return boosted + self.weight * divergence(clean, attacked) * doubt

"""Adversarial training on PGD examples (Madry et al. 2018, "Towards deep learning models resistant to …")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from sparring.attacks import PGD, Attack
from sparring.defenses.context import Context
from sparring.defenses.defense import Defense
from sparring.values import PositiveShare


@dataclass(frozen=True)
class AdversarialTraining(Defense):
    """Cross-entropy on the strongest examples that `attack` finds inside the threat.

    attack: run afresh on every batch, the network in evaluation mode.
    share: the weight of the adversarial loss, in (0, 1]; the rest is on the clean examples, as in the mix of
    Goodfellow et al. (2015), where it is 0.5.

    Raises:
        InputError: share is not in (0, 1]; or, when training starts, the threat is missing or not the attack's.
    """

    attack: Attack = field(default_factory=lambda: PGD(steps=10))
    share: PositiveShare = 1.0
    attacked: ClassVar[bool] = True
    promise: ClassVar[str] = "robust accuracy inside the threat it trains on"
    broken_by: ClassVar[str] = "larger radii and other norms; it overfits when trained long"

    def loss(self, context: Context) -> Tensor:
        loss = context.cross_entropy(context.logits(context.adversarial(self.attack)))
        if self.share == 1:
            return loss
        return self.share * loss + (1 - self.share) * context.cross_entropy(context.logits(context.x))

"""Adversarial training on PGD examples (Madry et al. 2018, "Towards deep learning models resistant to …")."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor
from torch.nn.functional import cross_entropy

from sparring.attacks import PGD, Attack
from sparring.defenses.defense import Context, Defense
from sparring.errors import InputError
from sparring.problem import Threat


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
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"share is {self.share}; give a number in (0, 1], or train with Standard()")

    def check(self, threat: Threat | None) -> None:
        if threat is None:
            raise InputError("AdversarialTraining has threat=None; say what may move, such as sp.Linf(8/255)")
        self.attack.check(threat)

    def loss(self, context: Context) -> Tensor:
        attacked = context.logits(context.adversarial(self.attack))
        loss = cross_entropy(attacked, context.y, reduction="none")
        if self.share == 1:
            return loss
        clean = cross_entropy(context.logits(context.x), context.y, reduction="none")
        return self.share * loss + (1 - self.share) * clean

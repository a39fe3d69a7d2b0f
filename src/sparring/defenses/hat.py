"""HAT (Rade & Moosavi-Dezfooli 2022, "Reducing excessive margin to achieve a better … trade-off")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from sparring.attacks import PGD, Attack
from sparring.defenses.context import Context
from sparring.defenses.defense import Defense
from sparring.defenses.standard import Standard
from sparring.defenses.trades import TRADES
from sparring.values import Amount


@dataclass(frozen=True)
class HAT(Defense):
    """TRADES + gamma · CE(f(x + stretch · (x' - x)), what a natural network says of x').

    The helper's label beyond the threat keeps margins from growing larger than they need be.
    teacher: the natural network; None trains one first with Standard(), by the same recipe.
    """

    beta: Amount = 2.5
    gamma: Amount = 0.5
    stretch: Amount = 2.0
    teacher: nn.Module | None = field(default=None, repr=False)
    attack: Attack = field(default_factory=lambda: PGD(steps=10, objective="kl"))
    attacked: ClassVar[bool] = True
    promise: ClassVar[str] = "TRADES with higher clean accuracy"
    broken_by: ClassVar[str] = "larger radii and other norms"

    def lesson(self) -> Defense | None:
        return Standard() if self.teacher is None else None

    def loss(self, context: Context) -> Tensor:
        assert self.teacher is not None  # the loop saw to it
        moved = context.adversarial(self.attack)
        beyond = context.x.detach() + self.stretch * (moved - context.x.detach())
        trades = TRADES(self.beta, self.attack).loss(context)
        helper = context.taught(self.teacher, moved).argmax(1)
        far = functional.cross_entropy(context.logits(beyond), helper, reduction="none")
        return trades + self.gamma * far

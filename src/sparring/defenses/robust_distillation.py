"""Robustness handed on by a teacher: RSLAD (Zi et al. 2021) and ARD (Goldblum et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from sparring.attacks import PGD, Attack
from sparring.defenses.context import Context
from sparring.defenses.defense import Defense
from sparring.defenses.trades import TRADES
from sparring.objectives import divergence
from sparring.values import Positive, Share


@dataclass(frozen=True)
class RobustDistillation(Defense):
    """RSLAD: robust · KL(T(x) || S(x')) + (1 - robust) · KL(T(x) || S(x)), x' climbing away from the teacher's T(x).

    teacher: a robust network of the same classes; None trains one first with TRADES(), by the same recipe.
    The sums are over classes, the mean over examples; the authors' code averages over classes too.
    """

    teacher: nn.Module | None = field(default=None, repr=False)
    robust: Share = 5 / 6
    attack: Attack = field(default_factory=lambda: PGD(steps=10, objective="kl"))
    attacked: ClassVar[bool] = True
    promise: ClassVar[str] = "a large teacher's robustness in a small network"
    broken_by: ClassVar[str] = "larger radii and other norms"

    def lesson(self) -> Defense | None:
        return TRADES() if self.teacher is None else None

    def loss(self, context: Context) -> Tensor:
        assert self.teacher is not None  # the loop saw to it
        soft = context.taught(self.teacher, context.x)
        moved = context.adversarial(self.attack, reference=soft)
        loss = self.robust * divergence(soft, context.logits(moved))
        if self.robust == 1:
            return loss
        return loss + (1 - self.robust) * divergence(soft, context.logits(context.x))


@dataclass(frozen=True)
class ARD(Defense):
    """Adversarially robust distillation: alpha · T² · KL(T(x) || S(x')) at temperature T + (1 - alpha) · CE(S(x), y).

    teacher: a robust network of the same classes; None trains one first with TRADES(), by the same recipe.
    """

    teacher: nn.Module | None = field(default=None, repr=False)
    temperature: Positive = 30.0
    alpha: Share = 1.0
    attack: Attack = field(default_factory=lambda: PGD(steps=10))
    attacked: ClassVar[bool] = True
    promise: ClassVar[str] = "a large teacher's robustness in a small network"
    broken_by: ClassVar[str] = "larger radii and other norms"

    def lesson(self) -> Defense | None:
        return TRADES() if self.teacher is None else None

    def loss(self, context: Context) -> Tensor:
        assert self.teacher is not None  # the loop saw to it
        t = self.temperature
        moved = context.adversarial(self.attack)
        taught = divergence(context.taught(self.teacher, context.x) / t, context.logits(moved) / t)
        loss = self.alpha * t**2 * taught
        if self.alpha == 1:
            return loss
        return loss + (1 - self.alpha) * context.cross_entropy(context.logits(context.x))

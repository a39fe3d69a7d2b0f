"""Adversarial logit pairing (Kannan, Kurakin & Goodfellow 2018), kept for comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from sparring.attacks import PGD, Attack
from sparring.defenses.context import Context
from sparring.defenses.defense import Defense
from sparring.values import Amount


@dataclass(frozen=True)
class LogitPairing(Defense):
    """A penalty: strength · ||f(x) - f(x')||². Weak: the authors add AdversarialTraining(share=0.5)."""

    strength: Amount = 0.5
    attack: Attack = field(default_factory=lambda: PGD(steps=10))
    teaches: ClassVar[bool] = False
    attacked: ClassVar[bool] = True
    promise: ClassVar[str] = "weak: logits that attacked and clean examples share"
    broken_by: ClassVar[str] = "PGD with more steps: 0.1 % at 16/255 (Engstrom, Ilyas & Athalye 2018)"

    def loss(self, context: Context) -> Tensor:
        moved = context.adversarial(self.attack)
        return self.strength * (context.logits(context.x) - context.logits(moved)).square().sum(1)

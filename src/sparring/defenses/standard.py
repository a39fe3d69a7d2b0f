"""Ordinary training: cross-entropy on the examples as they are. What the defenses are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sparring.defenses.context import Context
from sparring.defenses.defense import Defense
from sparring.values import Positive


@dataclass(frozen=True)
class Standard(Defense):
    """Cross-entropy on clean examples; needs no threat.

    temperature: the logits are divided by it while learning, and the loss multiplied, so that its gradient keeps
    its size. Above 1 this trains the teacher of defensive distillation.
    """

    temperature: Positive = 1.0
    promise: ClassVar[str] = "clean accuracy; nothing against an adversary"
    broken_by: ClassVar[str] = "every attack"

    def loss(self, context: Context) -> Tensor:
        return self.temperature * context.cross_entropy(context.logits(context.x) / self.temperature)

"""Defensive distillation (Papernot et al. 2016, "Distillation as a defense …"), broken by Carlini & Wagner (2017)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from sparring.defenses.context import Context
from sparring.defenses.defense import Defense
from sparring.defenses.standard import Standard
from sparring.values import Positive


@dataclass(frozen=True)
class Distillation(Defense):
    """Learn what a teacher says at a high temperature, at that temperature; the network is used at temperature 1.

    temperature: T divides the logits of teacher and student. Used at T = 1 the logits come out T times larger, so
    that softmax saturates and the gradient of cross-entropy vanishes. It masks gradients and no more.
    teacher: a network of the same classes; None trains one first, a new copy by the same recipe at the same T.
    The loss is multiplied by T, so that its gradient keeps its size.
    """

    temperature: Positive = 20.0
    teacher: nn.Module | None = field(default=None, repr=False)
    promise: ClassVar[str] = "gradients too small to follow (masking)"
    broken_by: ClassVar[str] = "margin losses and C&W, at the undefended model's distances"

    def lesson(self) -> Defense | None:
        return Standard(self.temperature) if self.teacher is None else None

    def loss(self, context: Context) -> Tensor:
        assert self.teacher is not None  # the loop saw to it
        soft = (context.taught(self.teacher, context.x) / self.temperature).softmax(1)
        logits = context.logits(context.x) / self.temperature
        return self.temperature * functional.cross_entropy(logits, soft, reduction="none")

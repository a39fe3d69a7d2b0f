"""Ordinary training: cross-entropy on the examples as they are. What the defenses are compared with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from sparring.defenses.defense import Context, Defense


@dataclass(frozen=True)
class Standard(Defense):
    """Cross-entropy; defends against nothing, and needs no threat."""

    def loss(self, context: Context) -> Tensor:
        return cross_entropy(context.logits(context.x), context.y, reduction="none")

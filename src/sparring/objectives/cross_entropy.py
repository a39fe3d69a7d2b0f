"""Cross-entropy, the loss the model was trained on (Goodfellow et al. 2015)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from sparring.problem import Goal


def cross_entropy(logits: Tensor, goal: Goal) -> Tensor:
    """-log p(label); log p(wanted class) when there is one to climb towards."""
    if goal.targeted:
        return -functional.cross_entropy(logits, goal.label, reduction="none")
    if goal.aim is not None:
        return -functional.cross_entropy(logits, goal.aim, reduction="none")
    return functional.cross_entropy(logits, goal.label, reduction="none")

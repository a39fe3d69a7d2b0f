"""How close a row came to falling, over all looks of all attacks on it; free of the scale of the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from sparring.problem import Goal
from sparring.rows import Rows


@dataclass(frozen=True)
class Nearness(Rows):
    """The look at which a row's margin was largest.

    margin: (N,) the best wrong logit minus the label's, over `scale`; at most 0, for where it is more the model errs.
    logits: (N, K) what the model said there. scale: (N,) the gap between the first and the third logit (the second, of
    two) at the clean example: the same for all looks of a row, so that margins of one row can be compared.
    """

    margin: Tensor
    logits: Tensor
    scale: Tensor

    @classmethod
    def at(cls, clean: Tensor, label: Tensor) -> Self:
        """Before any attack: the clean logits (N, K) are the closest look."""
        top = clean.topk(min(3, clean.shape[1]), dim=1).values
        scale = (top[:, 0] - top[:, -1]).clamp_min(torch.finfo(clean.dtype).tiny)
        return cls(_margin(clean, label) / scale, clean, scale)

    def seeing(self, slot: Tensor, logits: Tensor, label: Tensor) -> Self:
        """After a look at the rows in `slot`, which may repeat. Looks that err are passed over: those inside the region
        end the row's trouble, those outside, where some attacks walk, say nothing about it."""
        margin = _margin(logits, label) / self.scale[slot]
        margin = margin.where(margin <= 0, -torch.inf)
        best = self.margin.scatter_reduce(0, slot, margin, "amax")
        closest = (margin > self.margin[slot]) & (margin == best[slot])
        return type(self)(best, self.logits.index_copy(0, slot[closest], logits[closest]), self.scale)


def _margin(logits: Tensor, label: Tensor) -> Tensor:
    toward, away = Goal(label).contest(logits)
    return toward - away

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

    margin: (N,) the logit that must win minus the one that must lose, such as the best wrong one minus the label's; at
    most 0, for where it is more the goal is reached, unless by luck.
    x: (N, …) where that was. logits: (N, K) what the model said there. first: (N,) the margin at the clean example.
    """

    margin: Tensor
    x: Tensor
    logits: Tensor
    first: Tensor

    @classmethod
    def at(cls, x: Tensor, clean: Tensor, goal: Goal) -> Self:
        """Before any attack: the closest look is that at the clean x, with logits (N, K)."""
        margin = _margin(clean, goal)
        return cls(margin, x, clean, margin)

    def seeing(self, slot: Tensor, x: Tensor, logits: Tensor, goal: Goal, inside: Tensor, luck: bool = False) -> Self:
        """After a look at the rows in `slot`, which may repeat. Passed over are looks that are not `inside` the region,
        which say nothing about the row, and looks that err, which end its trouble: but not where it may be `luck`."""
        margin = _margin(logits, goal)
        margin = margin.where(inside & ((margin <= 0) | luck), -torch.inf)
        best = self.margin.scatter_reduce(0, slot, margin, "amax")
        closest = (margin > self.margin[slot]) & (margin == best[slot])
        at = slot[closest]
        there = self.x.index_copy(0, at, x[closest]), self.logits.index_copy(0, at, logits[closest])
        return type(self)(best, *there, self.first)

    @property
    def missed(self) -> Tensor:
        """(N,) what the closest look missed by, in units of how far the margin has risen; inf where it has not, 0 where
        the model erred."""
        return self._in_way((-self.margin).clamp_min(0))

    def apart(self, other: Self) -> Tensor:
        """(N,) how far the closest looks of `other` are from these, in the same units."""
        return self._in_way((self.margin - other.margin).abs())

    def closer(self, other: Self) -> Self:
        """Of each row the closer look of the two."""
        return self.where(self.margin >= other.margin, other)

    def _in_way(self, gap: Tensor) -> Tensor:
        way = self.margin - self.first
        return torch.where(way > 0, gap / way, torch.inf)


def _margin(logits: Tensor, goal: Goal) -> Tensor:
    toward, away = Goal(goal.label, goal.targeted).contest(logits)  # whatever class an attack aims at
    return toward - away

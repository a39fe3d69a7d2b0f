"""What a ladder knows of each row, and which rows a rung therefore takes. Nothing here looks at another row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Self

import torch
from torch import Tensor

from sparring.auditing.probe import Evidence
from sparring.evaluation.rung import Rung
from sparring.nearness import Nearness
from sparring.oracle import Oracle
from sparring.problem import Problem
from sparring.rows import Rows

GAIN = 0.05  # of what was missing: a rung that won less brought nothing closer
DARK = 2  # rungs in which every gradient was zero, after which no more are followed


@dataclass(frozen=True)
class Past(Rows):
    """The looks, the gradients and the evidence so far.

    first: the clean look. nearness: the closest. spread: (N,) the most that two rungs which do the same differed by, in
    units of `Nearness`; inf until there were two. dark: (N,) rungs that met zero gradients only. gained: (N, rungs)
    bool, the rungs that brought the row closer. evidence: (N, columns), see `Evidence`.
    """

    first: Nearness
    nearness: Nearness
    spread: Tensor
    dark: Tensor
    gained: Tensor
    evidence: Tensor

    @classmethod
    def none(cls, problem: Problem, clean: Tensor, rungs: Sequence[Rung]) -> Self:
        """After the clean look, with logits `clean` (N, K)."""
        first = Nearness.at(problem.x, clean, problem.goal.label)
        spread = torch.full_like(first.margin, torch.inf)
        dark = torch.zeros_like(problem.slot)
        gained = torch.zeros(len(dark), len(rungs), dtype=torch.bool, device=dark.device)
        return cls(first, first, spread, dark, gained, Evidence.none(dark).columns)

    def chosen(self, rung: Rung, rungs: Sequence[Rung], own: bool, roughness: float) -> Tensor:
        """(N,) bool: the rows that the rung takes, if they still stand. own: it follows the network's own gradient.
        roughness: of the network."""
        missed = self.nearness.missed
        chosen = missed <= rung.within
        if rung.unsettled < inf:
            chosen &= missed <= rung.unsettled * self.spread
        if rung.rough < inf:
            chosen &= missed < rung.rough * roughness
        if rung.gained:
            chosen &= self.gained[:, [one.name in rung.gained for one in rungs]].any(1)
        chosen |= missed <= rung.anyway
        if rung.doubted:
            chosen &= Evidence(*self.evidence.unbind(1)).doubtful
        return chosen & (self.dark < DARK) if own and rung.attack.gradients else chosen

    def posed(self, rows: Problem, rung: Rung) -> Problem:
        """The problem as the rung is given it."""
        if rung.ranked == "closest":
            rows = replace(rows, clean=self.nearness.logits)
        return replace(rows, x=rows.region.project(self.nearness.x)) if rung.start == "closest" else rows

    def after(self, rung: Rung, rungs: Sequence[Rung], oracle: Oracle, own: bool, absent: bool) -> Self:
        """What is known once the oracle's looks of that rung are over; absent: it met no gradient."""
        assert oracle.nearness is not None
        looks, before = oracle.nearness, self.nearness
        nearness = before.closer(looks)
        spread = self.spread
        if rung.again:
            apart = nearness.apart(looks).maximum(nearness.apart(before))
            spread = torch.where(spread.isinf(), apart, spread.maximum(apart))
        blind = (oracle.backwards > 0) & (oracle.zero_gradients == oracle.backwards) & own
        dark = self.dark + blind + DARK * (own and absent)
        # Of many looks at a random network some are closer by chance.
        won = (nearness.margin - before.margin > -GAIN * before.margin) & (oracle.judge.eot == 1)
        names = [one.name for one in rungs]
        gained = self.gained.index_copy(1, torch.tensor([names.index(rung.name)], device=won.device), won[:, None])
        return replace(self, nearness=nearness, spread=spread, dark=dark, gained=gained)

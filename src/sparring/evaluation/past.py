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


@dataclass(frozen=True)
class Past(Rows):
    """The looks, the gradients and the evidence so far.

    first: the clean look. nearness: the closest. spread: (N,) the most that two rungs which do the same differed by, in
    units of `Nearness`; inf until there were two. zeros: (N, objectives) for each of `objectives(rungs)` the rungs that
    met zero gradients only, since the last that met another. absent: (N,) bool, there is no input gradient.
    gained: (N, rungs) bool, the rungs that brought the row closer. evidence: (N, columns), see `Evidence`.
    """

    first: Nearness
    nearness: Nearness
    spread: Tensor
    zeros: Tensor
    absent: Tensor
    gained: Tensor
    evidence: Tensor

    @classmethod
    def none(cls, problem: Problem, clean: Tensor, rungs: Sequence[Rung]) -> Self:
        """After the clean look, with logits `clean` (N, K)."""
        first = Nearness.at(problem.x, clean, problem.goal)
        spread = torch.full_like(first.margin, torch.inf)
        slot = problem.slot
        zeros = torch.zeros(len(slot), len(objectives(rungs)), dtype=torch.int64, device=slot.device)
        gained = torch.zeros(len(slot), len(rungs), dtype=torch.bool, device=slot.device)
        absent = torch.zeros_like(slot, dtype=torch.bool)
        return cls(first, first, spread, zeros, absent, gained, Evidence.none(slot).columns)

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
        if own and rung.attack.gradients and rung.max_zero_gradients < inf:
            zeros = self.zeros[:, objectives(rungs).index(rung.climbs)]
            chosen &= (zeros <= rung.max_zero_gradients) & ~self.absent
        return chosen

    def posed(self, rows: Problem, rung: Rung) -> Problem:
        """The problem as the rung is given it."""
        if rung.ranked == "closest":
            rows = replace(rows, clean=self.nearness.logits)
        return replace(rows, x=rows.region.project(self.nearness.x)) if rung.start == "closest" else rows

    def after(self, rung: Rung, rungs: Sequence[Rung], oracle: Oracle, own: bool, absent: bool) -> Self:
        """What is known once the oracle's looks of that rung are over; absent: the network has no gradient at all."""
        assert oracle.nearness is not None
        looks, before = oracle.nearness, self.nearness
        nearness = before.closer(looks)
        spread = self.spread
        if rung.again:
            apart = nearness.apart(looks).maximum(nearness.apart(before))
            spread = torch.where(spread.isinf(), apart, spread.maximum(apart))
        zeros = self.zeros
        if own and rung.attack.gradients:
            at = objectives(rungs).index(rung.climbs)
            met, zero = oracle.backwards > 0, oracle.zero_gradients == oracle.backwards
            count = torch.where(met, torch.where(zero, zeros[:, at] + 1, 0), zeros[:, at])
            zeros = zeros.index_copy(1, torch.tensor([at], device=zeros.device), count[:, None])
        # Of many looks at a random network some are closer by chance.
        won = (nearness.margin - before.margin > -GAIN * before.margin) & (oracle.judge.eot == 1)
        names = [one.name for one in rungs]
        gained = self.gained.index_copy(1, torch.tensor([names.index(rung.name)], device=won.device), won[:, None])
        lacking = self.absent | (own and absent)
        return replace(self, nearness=nearness, spread=spread, zeros=zeros, absent=lacking, gained=gained)


def objectives(rungs: Sequence[Rung]) -> list[str]:
    """Those whose gradients the rungs follow, each once."""
    return list(dict.fromkeys(rung.climbs for rung in rungs if rung.attack.gradients))

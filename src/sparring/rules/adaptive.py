"""The adaptive step of Auto-PGD: halve it where progress stalls and go back to the best point.

Croce & Hein, "Reliable evaluation of adversarial robustness", 2020, algorithm 1; for L1 the sparse step of
Croce & Hein, "Mind the box", 2021, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sparring.problem import Problem, Region, Seen
from sparring.rows import Rows, column


@dataclass(frozen=True)
class Progress(Rows):
    """What Auto-PGD remembers of a row, and the checkpoints that all rows of a solve share."""

    last: Tensor  # (N, …) the point before this one
    point: Tensor  # (N, …) the best so far,
    gradient: Tensor  # (N, …) its gradient
    best: Tensor  # (N,) and its score
    score: Tensor  # (N,) the previous score
    checked: Tensor  # (N,) the best score at the last checkpoint
    rises: Tensor  # (N,) steps since then that raised the score
    halved: Tensor  # (N,) bool: the last checkpoint halved the step
    size: Tensor  # (N,) the step size
    spread: Tensor  # (N,) the share of coordinates a sparse step moves
    width: Tensor  # (N,) the coordinates moved at the last checkpoint
    moves: int = 0
    since: int = 0
    interval: int = 0


def begin(problem: Problem, x: Tensor, size: Tensor, interval: int) -> Progress:
    """Before the first look: everything seen will be better."""
    worst = x.new_full((len(x),), -torch.inf)
    whole = x.new_ones(len(x))
    return Progress(
        last=x, point=x, gradient=torch.zeros_like(x), best=worst, score=worst, checked=worst,
        rises=torch.zeros_like(worst), halved=torch.ones_like(worst, dtype=torch.bool), size=size,
        spread=0.2 * whole, width=x[0].numel() * whole, interval=interval,
    )  # fmt: skip


def remember(memory: Progress, x: Tensor, seen: Seen) -> Progress:
    """Take in one look: was it a rise, is it the best?"""
    gain = seen.score > memory.best
    where = column(gain, x)
    return replace(
        memory,
        point=torch.where(where, x, memory.point),
        gradient=torch.where(where, seen.gradient, memory.gradient),
        best=torch.where(gain, seen.score, memory.best),
        rises=memory.rises + (seen.score > memory.score),
        score=seen.score,
    )


@dataclass(frozen=True)
class Adaptive:
    """Auto-PGD's step for L∞ and L2: from 2 eps, with momentum 0.75."""

    steps: int
    rho: float = 0.75
    momentum: float = 0.75

    def start(self, problem: Problem, x: Tensor) -> Progress:
        return begin(problem, x, 2 * problem.region.reach, max(int(0.22 * self.steps), 1))

    def move(self, problem: Problem, memory: Progress, x: Tensor, seen: Seen) -> tuple[Tensor, Progress]:
        memory = remember(memory, x, seen)
        gradient, before = seen.gradient, memory.last
        if memory.moves == 0:
            # The first look raised nothing: there was no score before it to raise.
            memory = replace(memory, checked=memory.best, rises=torch.zeros_like(memory.rises))
        elif memory.since == memory.interval:
            x, gradient, memory = self._checkpoint(memory, x, gradient)
        weight = self.momentum if memory.moves else 1.0
        region = problem.region
        ahead = region.project(x + column(memory.size, x) * region.steepest(gradient, x))
        ahead = region.project(x + weight * (ahead - x) + (1 - weight) * (x - before))
        return ahead, replace(memory, last=x, moves=memory.moves + 1, since=memory.since + 1)

    def _checkpoint(self, memory: Progress, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Progress]:
        stalled = memory.rises <= self.rho * memory.interval
        stuck = ~memory.halved & (memory.checked >= memory.best)
        halve = stalled | stuck
        where = column(halve, x)
        memory = replace(
            memory,
            size=torch.where(halve, memory.size / 2, memory.size),
            halved=halve,
            checked=memory.best,
            rises=torch.zeros_like(memory.rises),
            since=0,
            interval=max(memory.interval - max(int(0.03 * self.steps), 1), max(int(0.06 * self.steps), 1)),
        )
        return torch.where(where, memory.point, x), torch.where(where, memory.gradient, gradient), memory


@dataclass(frozen=True)
class AdaptiveSparse:
    """Auto-PGD's step for L1: along the signs of the largest gradients, as many as the best point suggests."""

    steps: int
    shrink: float = 1.5
    least: float = 0.1

    def start(self, problem: Problem, x: Tensor) -> Progress:
        return begin(problem, x, problem.region.reach.clone(), max(int(0.04 * self.steps), 1))

    def move(self, problem: Problem, memory: Progress, x: Tensor, seen: Seen) -> tuple[Tensor, Progress]:
        memory = remember(memory, x, seen)
        gradient, region = seen.gradient, problem.region
        if memory.moves and memory.since == memory.interval:
            x, gradient, memory = self._checkpoint(region, memory, x, gradient)
        step = column(memory.size, x) * self._sparse(gradient, memory.spread)
        return region.project(x + step), replace(memory, last=x, moves=memory.moves + 1, since=memory.since + 1)

    def _sparse(self, gradient: Tensor, spread: Tensor) -> Tensor:
        size = gradient.flatten(1).abs()
        # Rounded down, or a point with two coordinates left could never shed the second.
        keep = (spread * size.shape[1]).long().clamp_min(1)
        cut = size.sort(dim=1, descending=True).values.gather(1, keep[:, None] - 1)
        signs = torch.where(size >= cut, gradient.flatten(1).sign(), 0)
        return (signs / signs.abs().sum(1, keepdim=True).clamp_min(1)).reshape(gradient.shape)

    def _checkpoint(
        self, region: Region, memory: Progress, x: Tensor, gradient: Tensor
    ) -> tuple[Tensor, Tensor, Progress]:
        moved = (memory.point != region.centre).flatten(1).sum(1).to(x.dtype)
        sparser = moved / memory.width.clamp_min(1) < 0.95
        where = column(sparser, x)
        largest = region.reach
        memory = replace(
            memory,
            spread=moved / x[0].numel() / self.shrink,
            size=torch.where(sparser, largest, torch.maximum(memory.size / self.shrink, self.least * largest)),
            width=moved,
            since=0,
        )
        return torch.where(where, memory.point, x), torch.where(where, memory.gradient, gradient), memory

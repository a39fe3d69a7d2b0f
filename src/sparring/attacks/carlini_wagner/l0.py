"""The L0 attack (section VI-B): solve as for L2 on the pixels still allowed, then freeze those that matter least.

A pixel's weight is |gradient of the margin| · |change|, summed over its channels. Rounds go on until no solution
is found; the last one found stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.attacks.carlini_wagner.climb import Climbing, Doubling, moved
from sparring.attacks.carlini_wagner.tanh import Tanh, span
from sparring.objectives import margin
from sparring.oracle import Oracle
from sparring.problem import Problem, Seen
from sparring.rows import Rows, column
from sparring.rules.adam import Adam
from sparring.threats.l0 import by_pixel, ranked, to_pixels


@dataclass(frozen=True)
class Thawed(Rows):
    """One row's search, and the pixels (N, pixels) it may still change."""

    climb: Climbing
    free: Tensor
    done: Tensor


@dataclass(frozen=True)
class Freezing:
    """c doubles from `first` to 2e6; a solution leads by at least 0.01 (the published margin)."""

    steps: int
    adam: Adam
    first: float
    abort_early: bool

    def start(self, problem: Problem) -> Thawed:
        w = Tanh(problem).into(problem.x)
        free = torch.ones_like(by_pixel(problem.x), dtype=torch.bool)
        climb = Climbing.begin(w, self.adam, self.first)
        return Thawed(climb, free, torch.zeros_like(climb.c, dtype=torch.bool))

    def step(self, problem: Problem, oracle: Oracle, state: Thawed) -> tuple[Tensor, Seen, Thawed]:
        inside, slope = Tanh(problem).back(state.climb.w)
        free = to_pixels(state.free, inside)
        x = torch.where(free, inside, problem.x)
        seen = oracle.gradient(problem, x, margin)
        unit = span(problem)
        change = (x - problem.x) / unit
        lacking = (max(problem.goal.confidence, 0.01) - seen.score).clamp_min(0)
        loss = (change * change).flatten(1).sum(1) + state.climb.c * lacking
        solved = (lacking < 1e-4) & problem.goal.reached(seen.logits)

        push = torch.where(lacking > 0, state.climb.c, 0)
        ascent = slope * free * (column(push, x) * seen.gradient - 2 * change / unit)
        climb, exhausted = Doubling(self.steps, self.abort_early, largest=2e6).after(
            moved(state.climb, self.adam, ascent, slope, torch.full_like(loss, torch.inf)), loss
        )
        climb = climb.restarted(solved, self.adam, state.climb.c, state.climb.w)
        weight = by_pixel(change.abs()) * by_pixel((seen.gradient * unit).abs())
        fewer = torch.where(solved[:, None], self._frozen(state.free, weight, change), state.free)
        done = (exhausted & ~solved) | ~fewer.any(1)
        return x, seen, Thawed(climb, fewer, done)

    def _frozen(self, free: Tensor, weight: Tensor, change: Tensor) -> Tensor:
        """`free` without its lightest pixels: up to 0.3 sqrt(changed) of them, or the first one above 0.01."""
        changed = (by_pixel(change.abs()) > 1e-4).sum(1, keepdim=True)
        # Frozen pixels sort last, so that ranks count the free ones from the lightest up.
        place = ranked(-weight.where(free, torch.inf))
        light = (weight <= 0.01) & free
        quota = torch.minimum(light.sum(1, keepdim=True), (0.3 * changed.sqrt()).ceil().long() - 1)
        return free & (place > quota.clamp_min(0))

    def over(self, state: Thawed) -> Tensor:
        return state.done

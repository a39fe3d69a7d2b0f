"""The L∞ attack (section VI-C): minimise c · max(kappa - margin, 0) + sum max(|change| - tau, 0), lowering tau.

Once the loss is next to nothing at a ceiling tau, tau falls below the largest change found, until none is found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sparring.attacks.carlini_wagner.climb import Climbing, Doubling, moved
from sparring.attacks.carlini_wagner.tanh import Tanh, span
from sparring.objectives import margin
from sparring.oracle import Oracle
from sparring.problem import Problem, Seen
from sparring.rows import Rows, column
from sparring.rules.adam import Adam


@dataclass(frozen=True)
class Lowering(Rows):
    """One row's ceiling, and the bracket around the lowest that works."""

    climb: Climbing
    tau: Tensor
    low: Tensor  # (N,) the highest ceiling that failed
    high: Tensor  # (N,) the largest change of the best solution
    warm: Tensor  # (N, …) its w
    c: Tensor  # (N,) its c
    done: Tensor  # (N,) bool


@dataclass(frozen=True)
class Ceiling:
    """c doubles from `first` to 20 at each ceiling; "decay" stops at the first ceiling that fails."""

    steps: int
    adam: Adam
    first: float
    abort_early: bool
    bisect: bool
    least: float = 1e-6
    decay: float = 0.9

    def start(self, problem: Problem) -> Lowering:
        w = Tanh(problem).into(problem.x)
        climb = Climbing.begin(w, self.adam, self.first)
        zero = torch.zeros_like(climb.c)
        return Lowering(climb, zero + 1, zero, zero + torch.inf, w, climb.c, zero.bool())

    def step(self, problem: Problem, oracle: Oracle, state: Lowering) -> tuple[Tensor, Seen, Lowering]:
        x, slope = Tanh(problem).back(state.climb.w)
        seen = oracle.gradient(problem, x, margin)
        unit = span(problem)
        change = (x - problem.x) / unit
        over = (change.abs() - column(state.tau, x)).clamp_min(0)
        lacking = (problem.goal.confidence - seen.score).clamp_min(0)
        loss = state.climb.c * lacking + over.flatten(1).sum(1)
        # The published test alone forgives a change far above a tiny tau once c is large.
        near = over.flatten(1).amax(1) <= 0.01 * state.tau
        solved = near & (loss < 1e-4 * state.climb.c) & problem.goal.reached(seen.logits)

        push = torch.where(lacking > 0, state.climb.c, 0)
        ascent = slope * (column(push, x) * seen.gradient - change.sign() * (over > 0) / unit)
        # A hundredth of the ceiling on every coordinate, as a Euclidean length.
        longest = 0.01 * state.tau * unit.flatten() * x[0].numel() ** 0.5
        climb, exhausted = Doubling(self.steps, self.abort_early, largest=20).after(
            moved(state.climb, self.adam, ascent, slope, longest), loss
        )
        now = replace(state, climb=climb)
        over = solved | exhausted
        if bool(over.any()):
            now = self._next(now, state.climb, solved, exhausted & ~solved, change.flatten(1).abs().amax(1))
        return x, seen, now

    def _next(self, state: Lowering, seen_at: Climbing, solved: Tensor, failed: Tensor, largest: Tensor) -> Lowering:
        high = torch.where(solved, torch.minimum(state.tau, largest), state.high)
        low = torch.where(failed, state.tau, state.low)
        warm = torch.where(column(solved, state.warm), seen_at.w, state.warm)
        c = torch.where(solved, seen_at.c, state.c)
        if self.bisect:
            tau = torch.where(solved | failed, (low + high) / 2, state.tau)
            done = state.done | ((solved | failed) & (high - low < 0.02 * high)) | (failed & high.isinf())
        else:
            tau = torch.where(solved, self.decay * high, state.tau)
            done = state.done | failed
        done = done | (solved & (tau <= self.least))
        climb = state.climb.restarted(solved | failed, self.adam, c, warm)
        return replace(state, climb=climb, tau=tau, low=low, high=high, warm=warm, c=c, done=done)

    def over(self, state: Lowering) -> Tensor:
        return state.done

"""The L2 attack (section VI-A): minimise |x' - x|² + c · max(kappa - margin, 0), bisecting c row by row.

Two guards against a step that is long beside the distance sought (0.01 in tanh space is, for an example almost
on the boundary, or in a wide input range): no step is longer than a tenth of the nearest distance found, falling
to none by the last step; and c has worked only where the goal was still met late in the run, since Adam's first
steps may stumble over the boundary at a c too small to hold it there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sparring.attacks.carlini_wagner.climb import Climbing, moved
from sparring.attacks.carlini_wagner.tanh import Tanh, span
from sparring.objectives import margin
from sparring.oracle import Oracle
from sparring.problem import Problem, Seen
from sparring.rows import Rows, column
from sparring.rules.adam import Adam
from sparring.searches import Bracket


@dataclass(frozen=True)
class Bisecting(Rows):
    """One row's minimisation at its present c, and what is known of c."""

    climb: Climbing
    bracket: Bracket
    nearest: Tensor  # (N,) the smallest distance at which the goal was met
    late: Tensor  # (N,) bool: the goal was met since the last check
    left: Tensor  # (N,) searches to go, this one included


@dataclass(frozen=True)
class Bisection:
    """`searches` values of c, `steps` gradients each; c rises tenfold until one works, then is bisected."""

    searches: int
    steps: int
    adam: Adam
    first: float
    abort_early: bool

    def start(self, problem: Problem) -> Bisecting:
        climb = Climbing.begin(Tanh(problem).into(problem.x), self.adam, self.first)
        far = torch.full_like(climb.c, torch.inf)
        left = torch.full_like(climb.c, self.searches)
        return Bisecting(climb, Bracket.of(climb.c), far, far.isnan(), left)

    def step(self, problem: Problem, oracle: Oracle, state: Bisecting) -> tuple[Tensor, Seen, Bisecting]:
        climb = state.climb
        x, slope = Tanh(problem).back(climb.w)
        seen = oracle.gradient(problem, x, margin)
        unit = span(problem)
        change = (x - problem.x) / unit
        square = (change * change).flatten(1).sum(1)
        lacking = (problem.goal.confidence - seen.score).clamp_min(0)
        reached = problem.goal.reached(seen.logits)
        nearest = torch.where(reached, torch.minimum(state.nearest, square.sqrt()), state.nearest)

        push = torch.where(lacking > 0, climb.c, 0)
        ascent = slope * (column(push, x) * seen.gradient - 2 * change / unit)
        longest = 0.1 * nearest * (1 - climb.age / self.steps) * unit.flatten()
        climb = moved(climb, self.adam, ascent, slope, longest)
        check = climb.age % max(self.steps // 10, 1) == 0
        over = climb.age >= self.steps
        if self.abort_early:
            loss = square + climb.c * lacking
            over = over | (check & (loss > 0.9999 * climb.checked))
            climb = replace(climb, checked=torch.where(check, loss, climb.checked))
        late = state.late | reached
        state = replace(state, climb=climb, nearest=nearest, late=late & (over | ~check))
        return x, seen, self._next(problem, state, over) if bool(over.any()) else state

    def _next(self, problem: Problem, state: Bisecting, over: Tensor) -> Bisecting:
        bracket = state.bracket.after(state.late, growth=10).where(over, state.bracket)
        left = state.left - over.to(state.left)
        c = bracket.value
        if self.searches >= 10:
            c = torch.where((left == 1) & bracket.high.isfinite(), bracket.high, c)
        climb = state.climb.restarted(over, self.adam, c, Tanh(problem).into(problem.x))
        return replace(state, climb=climb, bracket=bracket, late=state.late & ~over, left=left)

    def over(self, state: Bisecting) -> Tensor:
        return state.left <= 0

"""Gradient ascent: look, move, look again. Every fixed-budget gradient attack is a value of this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sparring.oracle import Oracle
from sparring.problem import Objective, Outcome, Problem, Seen
from sparring.rows import Rows
from sparring.rules import Rule
from sparring.solve import solve


@dataclass(frozen=True)
class Climb(Rows):
    """Where a row stands, what its rule remembers, and how many moves were made."""

    x: Tensor
    memory: Rows
    moves: int = 0


@dataclass(frozen=True)
class Ascent:
    """`steps` moves along the gradient of `objective`: that many gradients, and one last look."""

    steps: int
    objective: Objective
    rule: Rule[Any]
    random_start: bool = True

    def start(self, problem: Problem) -> Climb:
        x = problem.region.sample(problem.draws, problem.index, 0) if self.random_start else problem.x
        return self.start_at(problem, x)

    def start_at(self, problem: Problem, x: Tensor) -> Climb:
        """The state from which to climb at x."""
        return Climb(x, self.rule.start(problem, x))

    def step(self, problem: Problem, oracle: Oracle, state: Climb) -> tuple[Tensor, Seen | None, Climb]:
        if state.moves == self.steps:
            last = None if problem.seek == "strongest" else oracle.look(problem, state.x, self.objective)
            return state.x, last, Climb(state.x, state.memory, state.moves + 1)
        seen = oracle.gradient(problem, state.x, self.objective)
        x, memory = self.rule.move(problem, state.memory, state.x, seen)
        return state.x, seen, Climb(x, memory, state.moves + 1)

    def over(self, state: Climb) -> Tensor:
        return torch.full((len(state.x),), state.moves > self.steps, device=state.x.device)

    def __call__(self, problem: Problem, oracle: Oracle) -> Outcome:
        return solve(self, problem, oracle)

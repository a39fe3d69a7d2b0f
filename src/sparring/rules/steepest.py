"""The steepest step: as far as the norm allows along the gradient (FGSM: its sign), then back into the region."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sparring.problem import Problem, Seen
from sparring.rows import Rows, column
from sparring.rules.rule import stride


@dataclass(frozen=True)
class NoMemory(Rows):
    """Nothing to remember."""


@dataclass(frozen=True)
class Steepest:
    """x + step · steepest(gradient), projected. `size` None takes `share` of the ball's reach."""

    size: float | None = None
    share: float = 1.0

    def start(self, problem: Problem, x: Tensor) -> NoMemory:
        return NoMemory()

    def move(self, problem: Problem, memory: NoMemory, x: Tensor, seen: Seen) -> tuple[Tensor, NoMemory]:
        step = column(stride(problem, self.size, self.share), x)
        return problem.region.project(x + step * problem.region.steepest(seen.gradient, x)), memory

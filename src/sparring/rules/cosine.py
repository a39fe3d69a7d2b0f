"""Steepest steps whose length falls along a cosine, with Auto-PGD's momentum.

The schedule of A³ (Ye et al. 2022, "Practical evaluation of adversarial robustness via adaptive auto attack") and PMA,
the momentum of Croce & Hein 2020 (section 4.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from sparring.problem import Problem, Seen
from sparring.rows import Rows, column


@dataclass(frozen=True)
class Pace(Rows):
    """The point before this one, and how many steps all rows of a solve have made."""

    last: Tensor
    moves: int = 0


@dataclass(frozen=True)
class Cosine:
    """`steps` steepest steps from `high` to `low` times the ball's reach; momentum pulls along the last move."""

    steps: int
    high: float = 2.0
    low: float = 0.01
    momentum: float = 0.75

    def start(self, problem: Problem, x: Tensor) -> Pace:
        return Pace(x)

    def move(self, problem: Problem, memory: Pace, x: Tensor, seen: Seen) -> tuple[Tensor, Pace]:
        share = self.low + (self.high - self.low) * (1 + math.cos(math.pi * memory.moves / self.steps)) / 2
        region = problem.region
        ahead = region.project(x + column(share * region.reach, x) * region.steepest(seen.gradient, x))
        if memory.moves:
            ahead = region.project(x + self.momentum * (ahead - x) + (1 - self.momentum) * (x - memory.last))
        return ahead, replace(memory, last=x, moves=memory.moves + 1)

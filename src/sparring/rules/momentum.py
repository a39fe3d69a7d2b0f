"""Momentum on normalised gradients (MI-FGSM: Dong et al. 2018, equation 6)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.problem import Problem, Seen
from sparring.rows import Rows, column
from sparring.rules.rule import stride


@dataclass(frozen=True)
class Velocity(Rows):
    """The decayed sum of past gradients."""

    gradient: Tensor


@dataclass(frozen=True)
class Momentum:
    """The steepest step along decay · velocity + gradient / ||gradient||_1."""

    decay: float = 1.0
    size: float | None = None
    share: float = 1.0

    def start(self, problem: Problem, x: Tensor) -> Velocity:
        return Velocity(torch.zeros_like(x))

    def move(self, problem: Problem, memory: Velocity, x: Tensor, seen: Seen) -> tuple[Tensor, Velocity]:
        total = seen.gradient.flatten(1).abs().sum(1)
        # A zero gradient adds nothing; 0 / 0 would freeze the row for every later step.
        velocity = self.decay * memory.gradient + seen.gradient / column(total.where(total > 0, 1), x)
        step = column(stride(problem, self.size, self.share), x)
        moved = problem.region.project(x + step * problem.region.steepest(velocity, x))
        return moved, Velocity(velocity)

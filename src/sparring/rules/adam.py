"""Adam (Kingma & Ba 2015, algorithm 1), one optimiser a row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.problem import Problem, Seen
from sparring.rows import Rows, column


@dataclass(frozen=True)
class Moments(Rows):
    """Running means of the gradient and of its square, and each row's own age (rows restart apart)."""

    first: Tensor
    second: Tensor
    age: Tensor


@dataclass(frozen=True)
class Adam:
    """Ascent with per-coordinate step sizes, projected."""

    rate: float = 0.01
    decays: tuple[float, float] = (0.9, 0.999)
    tiny: float = 1e-8

    def begin(self, x: Tensor) -> Moments:
        """No moments yet, in the shape of x."""
        return Moments(torch.zeros_like(x), torch.zeros_like(x), x.new_zeros(len(x), dtype=torch.float64))

    def ascent(self, memory: Moments, gradient: Tensor) -> tuple[Tensor, Moments]:
        """The move that climbs along `gradient`, and the moments after it."""
        one, two = self.decays
        age = memory.age + 1
        first = torch.lerp(memory.first, gradient, 1 - one)
        second = two * memory.second + (1 - two) * gradient * gradient
        rate = (self.rate / (1 - one**age)).to(gradient.dtype)
        spread = (1 - two**age).rsqrt().to(gradient.dtype)
        move = column(rate, first) * first / (second.sqrt() * column(spread, second) + self.tiny)
        return move, Moments(first, second, age)

    def start(self, problem: Problem, x: Tensor) -> Moments:
        return self.begin(x)

    def move(self, problem: Problem, memory: Moments, x: Tensor, seen: Seen) -> tuple[Tensor, Moments]:
        step, memory = self.ascent(memory, seen.gradient)
        return problem.region.project(x + step), memory

"""L∞: every coordinate may move by at most the radius."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sparring.draws import Draws
from sparring.rows import column
from sparring.threats.ball import Ball, Norm


@dataclass(frozen=True)
class LinfBall(Ball):
    """A cube cut with the input range; its projection is a clamp."""

    def distance(self, x: Tensor) -> Tensor:
        return (x - self.centre).flatten(1).abs().amax(1)

    def project(self, x: Tensor) -> Tensor:
        radius = column(self.radius, x)
        return self.clip(x.clamp(self.centre - radius, self.centre + radius))

    def steepest(self, gradient: Tensor, x: Tensor) -> Tensor:
        return gradient.sign()

    def sample(self, draws: Draws, index: Tensor, step: int) -> Tensor:
        noise = draws.uniform(index, step, self.centre.shape[1:], self.centre.dtype)
        return self.project(self.centre + column(self.radius, self.centre) * (2 * noise - 1))


@dataclass(frozen=True)
class Linf(Norm):
    """max |x' - x| <= eps."""

    ball: ClassVar[type[Ball]] = LinfBall
    name: ClassVar[str] = "linf"

"""L2: the Euclidean length of the whole perturbation is bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparring.draws import Draws
from sparring.rows import column
from sparring.threats.ball import Ball, Norm, tucked, unit


@dataclass(frozen=True)
class L2Ball(Ball):
    """A Euclidean ball cut with the input range."""

    def distance(self, x: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm((x - self.centre).flatten(1).double(), dim=1)
        return length.to(x.dtype)

    def project(self, x: Tensor) -> Tensor:
        """The nearest point of ball ∩ box: clip(centre + s (x - centre)) with the s at which the radius is met.

        ||clip(centre + s v)||² is concave and increasing in s², so Newton's method from the unclipped solution
        rises to the root and stops once no further coordinate meets the box.
        """
        delta = (x - self.centre).flatten(1)
        size = delta.abs()
        limit = self.room(x - self.centre).flatten(1)
        squares, limits = size.double() ** 2, limit.double() ** 2
        wanted = self.radius.double()[:, None] ** 2
        outside = torch.minimum(squares, limits).sum(1, keepdim=True) > wanted
        if not bool(outside.any()):
            return self.clip(x)
        clipped = torch.zeros_like(squares, dtype=torch.bool)
        while True:
            kept = torch.where(clipped, limits, 0).sum(1, keepdim=True)
            loose = torch.where(clipped, 0, squares).sum(1, keepdim=True)
            shrink = torch.where(outside, (wanted - kept).clamp_min(0) / loose.clamp_min(1e-300), 1)
            grown = clipped | (squares * shrink > limits) & outside
            if torch.equal(grown, clipped):
                break
            clipped = grown
        moved = torch.minimum(size * shrink.sqrt().to(x.dtype), limit) * delta.sign()
        inner = self.clip(tucked(self, self.centre + moved.reshape(x.shape)))
        return torch.where(column(outside.squeeze(1), x), inner, self.clip(x))

    def steepest(self, gradient: Tensor, x: Tensor) -> Tensor:
        free = torch.where(gradient > 0, x < self.high, x > self.low)
        return unit(torch.where(free, gradient, 0))

    def sample(self, draws: Draws, index: Tensor, step: int) -> Tensor:
        shape, dtype = self.centre.shape[1:], self.centre.dtype
        direction = unit(draws.at("direction").normal(index, step, shape, dtype))
        length = draws.at("length").uniform(index, step, (1,), dtype).squeeze(1) ** (1 / math.prod(shape))
        return self.project(self.centre + column(self.radius * length, direction) * direction)


@dataclass(frozen=True)
class L2(Norm):
    """||x' - x||_2 <= eps."""

    ball: ClassVar[type[Ball]] = L2Ball
    name: ClassVar[str] = "l2"

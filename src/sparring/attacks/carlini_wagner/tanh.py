"""The change of variables (section V-B): x = low + width (tanh w + 1) / 2, always inside the input range."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.problem import Problem
from sparring.rows import column
from sparring.threats.ball import Ball

# The published scale: at exactly 1 a pixel at the edge of the range would have no gradient and never move.
EDGE = 0.999999


class Tanh:
    """Between w, which is free, and x, which is inside the range; the identity where the range is unbounded."""

    def __init__(self, problem: Problem) -> None:
        region = problem.region
        assert isinstance(region, Ball)
        self.low, self.width = region.low, region.high - region.low
        self.bounded = bool(self.width.isfinite().all())

    def into(self, x: Tensor) -> Tensor:
        """w of x."""
        if not self.bounded:
            return x
        share = 2 * (x - self.low) / self.width.where(self.width > 0, 1) - 1
        return (EDGE * share.clamp(-1, 1)).atanh()

    def back(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """x of w, and the slope dx/dw."""
        if not self.bounded:
            return w, torch.ones_like(w)
        t = w.tanh()
        return self.low + self.width * (t + 1) / 2, self.width / 2 * (1 - t * t)


def span(problem: Problem) -> Tensor:
    """(N, 1, …) the length of the input range, the unit of distances and of c; 1 where it is unbounded."""
    region = problem.region
    assert isinstance(region, Ball)
    widest = (region.high - region.low).flatten(1).amax(1)
    return column(widest.where(widest.isfinite() & (widest > 0), 1), problem.x)

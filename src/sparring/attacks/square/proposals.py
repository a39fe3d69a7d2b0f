"""What is tried next: from the best point so far to a candidate that differs from it in one or two windows.

Every row draws its own windows, from (seed, path, index, look): nothing depends on the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sparring.attacks.square.plane import Plane, halves, tiles
from sparring.problem import Problem
from sparring.rows import column

# Random numbers a candidate takes, beside one a channel: the places of two windows, and which way the hills lie.
CHANCES = 5


class Proposal(Protocol):
    """The sampling distribution of one norm."""

    def first(self, problem: Problem) -> Tensor:
        """The points to start from."""
        ...

    def after(self, problem: Problem, x: Tensor, chance: Tensor, share: float) -> Tensor:
        """Candidates that change a window over that `share` of each image of x; `chance` (N, CHANCES + channels)."""
        ...


@dataclass(frozen=True)
class Flips:
    """L∞ (algorithm 2): stripes of ±eps, then windows set to ±eps, one sign a channel."""

    def first(self, problem: Problem) -> Tensor:
        plane, x = Plane.of(problem.x), problem.x
        stripes = _signs(problem.draws.at("stripe").uniform(problem.index, 0, (plane.channels, 1, plane.width)))
        stripes = stripes.expand(-1, -1, plane.height, -1).reshape(x.shape).to(x.dtype)
        return problem.region.project(x + column(problem.region.radius, x) * stripes)

    def after(self, problem: Problem, x: Tensor, chance: Tensor, share: float) -> Tensor:
        plane, region = Plane.of(x), problem.region
        at = plane.cells(chance[:, :2], plane.window(share))
        push = (2 * region.radius[:, None] * _signs(chance[:, CHANCES:])).to(x.dtype)[:, :, None]
        step = plane.flat(torch.zeros_like(x)).scatter(2, at, push.expand(at.shape)).reshape(x.shape)
        moved = region.project(x + step)
        # A window that had these signs already would waste the query; the paper's code draws again.
        same = (moved == x).flatten(1).all(1)
        return torch.where(column(same, x), region.project(x - step), moved)


@dataclass(frozen=True)
class Masses:
    """L2 (algorithm 3), and L1 alike (Croce & Hein 2021, appendix): mass moves from one window into another.

    Mass is the sum of |change|^order. What both windows hold, and what is left of the budget, goes into the first,
    in a shape halfway between the one there and two hills of opposite sign. So every candidate uses the budget up,
    but for what the input range cuts off, which the next one has again.
    """

    order: int

    def first(self, problem: Problem) -> Tensor:
        plane, x = Plane.of(problem.x), problem.x
        side = max(1, plane.height // 5), max(1, plane.width // 5)
        picture, tile = (part.to(x.device) for part in tiles(plane, side))
        shape = plane.channels, int(tile.max()) + 1
        signs = _signs(problem.draws.at("tile").uniform(problem.index, 0, shape, x.dtype))
        change = picture.to(x.dtype) * signs[:, :, tile]
        change = change / self._mass(change).sum(1)[:, None, None] ** (1 / self.order)
        return self._inside(problem, column(problem.region.radius, change) * change)

    def after(self, problem: Problem, x: Tensor, chance: Tensor, share: float) -> Tensor:
        plane, radius = Plane.of(x), problem.region.radius
        size = plane.window(share, max(1, min(3, plane.height // 2, plane.width // 2)))
        into, out_of = plane.cells(chance[:, :2], size), plane.cells(chance[:, 2:4], size)
        change = plane.flat(x - problem.x)
        kept = change.scatter(2, into, 0).scatter(2, out_of, 0)
        held = self._mass(change)
        unused = (radius**self.order - held.sum(1)).clamp_min(0)
        budget = (held - self._mass(kept)).clamp_min(0) + unused[:, None] / plane.channels

        shapes = torch.stack([halves(*size), halves(*size[::-1]).T]).flatten(1).to(x)
        wished = shapes[(chance[:, 4] < 0.5).long()][:, None] * _signs(chance[:, CHANCES:]).to(x.dtype)[:, :, None]
        wished = self._unit(wished)
        both = wished + self._unit(change.gather(2, into))
        cancelled = self._mass(both)[:, :, None] < 1e-6
        both = self._unit(torch.where(cancelled, wished, both))
        return self._inside(problem, kept.scatter(2, into, budget[:, :, None] ** (1 / self.order) * both))

    def _mass(self, change: Tensor) -> Tensor:
        return (change.abs() ** self.order).sum(2)

    def _unit(self, change: Tensor) -> Tensor:
        length = self._mass(change)[:, :, None] ** (1 / self.order)
        return change / length.where(length > 0, 1)

    def _inside(self, problem: Problem, change: Tensor) -> Tensor:
        return problem.region.project(problem.x + change.reshape(problem.x.shape))


def _signs(chance: Tensor) -> Tensor:
    return torch.where(chance < 0.5, -1.0, 1.0).to(chance)

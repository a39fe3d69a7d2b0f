"""How much of the screen, or of any 10° window of it, some points cover.

On a coarse grid a window is rounded to whole cells and its limit with it. On the grid of all pixels its sides may be
fractions of a pixel; the largest sum over all positions of such a window is reached with one side on the edge of a
pixel (the sum is linear between those), so windows that begin and windows that end there are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparring.flash.analysis.sampling import Grid
from sparring.flash.analysis.transitions import Points
from sparring.flash.standards import Area, Window

Counts: TypeAlias = NDArray[Any]  # whole numbers, or fractions of them where windows are
_TINY = 1e-6  # of the area: what floating point may add to a share that is exactly the limit


@dataclass(frozen=True)
class Side:
    """Windows along one axis: `cells` whole cells and a `rest` of one more."""

    cells: int
    rest: float

    def sums(self, total: Counts) -> list[Counts]:
        """Sums over every window down the first axis, from the sums up to every edge."""
        count = len(total) - 1
        if self.cells >= count:
            return [total[count:] - total[:1]]
        whole = total[self.cells :] - total[: count + 1 - self.cells]
        if not self.rest:
            return [whole]
        later = total[self.cells + 1 :] - total[self.cells : count]
        earlier = total[1 : count + 1 - self.cells] - total[: count - self.cells]
        return [whole[:-1] + self.rest * later, whole[1:] + self.rest * earlier]


class Extent:
    """The area rule of a standard on a grid: what share points cover, and which of them lie in too large an area."""

    def __init__(self, area: Area, grid: Grid, aspect: float = 1.0) -> None:
        """`aspect`: how much wider than high a pixel is shown."""
        self.area, self.grid = area, grid
        self.limit = area.share
        self.cells = float(len(grid))  # the area that a share of 1 stands for
        self.sides: tuple[Side, Side] | None = None
        if isinstance(area, Window):
            self.sides, self.cells = self._window(area, aspect)
            self._tile(self.sides)

    def _window(self, area: Window, aspect: float) -> tuple[tuple[Side, Side], float]:
        width, height = self.grid.size
        rows, columns = self.grid.shape
        if area.of_frame is not None:
            wide, high = area.of_frame[0] * columns, area.of_frame[1] * rows
        else:
            pixel = min(area.display[0] / (width * aspect), area.display[1] / height)  # CSS pixels a pixel is high
            wide = area.width / (pixel * aspect) * columns / width
            high = area.height / pixel * rows / height
        if not self.grid.exact:
            wide, high = max(1.0, round(wide)), max(1.0, round(high))
        sides = (_side(high), _side(wide))
        return sides, wide * high

    def _tile(self, sides: tuple[Side, Side]) -> None:
        """Tiles of a quarter of the window: no window holds more than the five by five tiles that it touches do."""
        rows, columns = self.grid.shape
        high, wide = (max(1, -(-side.cells // 4)) for side in sides)
        self.tiles = -(-rows // high), -(-columns // wide)
        down, across = np.arange(rows) // high, np.arange(columns) // wide
        self.tile = (down[:, None] * self.tiles[1] + across).ravel().astype(np.int32)
        # A window may touch six tiles where its side is not a whole number of them.
        self.touched = tuple(
            Side(-(-(side.cells + (side.rest > 0) - 1) // size) + 1, 0.0)
            for side, size in zip(sides, (high, wide), strict=True)
        )

    def least(self, slack: float) -> float:
        """No fewer points than this can be too many; `slack` scales the limit."""
        return self.limit * slack * self.cells * (1 - _TINY)

    def exceeds(self, share: Counts | float, slack: float = 1.0) -> NDArray[np.bool_]:
        """Whether such a share is too much."""
        limit = self.limit * slack
        return np.asarray(share >= limit - _TINY if self.area.at_least else share > limit + _TINY)

    def share(self, points: Points) -> float:
        """The share that the points cover, of the screen or of the window that has most of them."""
        if self.sides is None or not len(points):
            return len(points) / self.cells
        return max(float(sums.max()) for sums in self._sums(points)) / self.cells

    def room(self, points: Points, slack: float) -> bool:
        """Whether so many points could be too many at all, which is soon told."""
        least = self.least(slack)
        if len(points) < least or self.sides is None:
            return len(points) >= least
        held = np.bincount(self.tile[points], minlength=self.tiles[0] * self.tiles[1]).reshape(self.tiles)
        total = np.zeros((self.tiles[0] + 1, self.tiles[1] + 1), np.int64)
        total[1:, 1:] = held.cumsum(0).cumsum(1)
        return float(self.touched[1].sums(self.touched[0].sums(total)[0].T)[0].max()) >= least

    def crowded(self, points: Points, slacks: tuple[float, ...]) -> list[Points]:
        """For each slack, the points that lie in an area that has too many of them."""
        if not self.room(points, min(slacks)):
            return [points[:0] for _ in slacks]
        if self.sides is None:
            share = len(points) / self.cells
            return [points if self.exceeds(share, slack) else points[:0] for slack in slacks]
        found = list(self._sums(points))
        crowded = []
        for slack in slacks:
            inside = np.zeros(self.grid.shape, bool)
            for sums in found:
                self._cover(inside, self.exceeds(sums / self.cells, slack))
            crowded.append(points[inside.ravel()[points]])
        return crowded

    def _sums(self, points: Points) -> list[Counts]:
        """How many of the points lie in each window."""
        assert self.sides is not None
        rows, columns = self.grid.shape
        total = np.zeros((rows + 1, columns + 1), np.int32)
        total[1:, 1:].flat[points] = 1
        total.cumsum(0, out=total)
        total.cumsum(1, out=total)
        return [sums.T for down in self.sides[0].sums(total) for sums in self.sides[1].sums(down.T)]

    def _cover(self, inside: NDArray[np.bool_], windows: NDArray[np.bool_]) -> None:
        """Mark what lies within any of the windows."""
        if not windows.any():
            return
        assert self.sides is not None
        if windows.all():
            inside[:] = True
            return
        high, wide = (
            min(side.cells + (side.rest > 0), length) for side, length in zip(self.sides, self.grid.shape, strict=True)
        )
        rows, columns = windows.shape
        edges = np.zeros((self.grid.shape[0] + 1, self.grid.shape[1] + 1), np.int32)
        for down, right, sign in ((0, 0, 1), (high, 0, -1), (0, wide, -1), (high, wide, 1)):
            edges[down : down + rows, right : right + columns] += sign * windows.astype(np.int32)
        inside |= edges.cumsum(0).cumsum(1)[:-1, :-1] > 0


def _side(length: float) -> Side:
    cells = int(length + 1e-9)
    rest = length - cells
    return Side(cells, rest if rest > 1e-9 else 0.0)

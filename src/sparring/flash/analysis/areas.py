"""How much of the screen, or of any 10° window of it, some points cover.

The sides of a window may be fractions of a pixel. The largest sum over all its positions is reached with a side on the
edge of a pixel (the sum is linear between those), so windows that begin and windows that end there are looked at. On a
coarse grid, whose areas are estimates anyway, windows are of whole bins of two by two cells, which is far faster; the
limit stays that of the true window, so that the area of what fits into one is not affected.
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
            self._begin(area, aspect)

    def _begin(self, area: Window, aspect: float) -> None:
        (width, height), (rows, columns) = self.grid.size, self.grid.shape
        if area.of_frame is not None:
            wide, high = area.of_frame[0] * columns, area.of_frame[1] * rows
        else:
            pixel = min(area.display[0] / (width * aspect), area.display[1] / height)  # CSS pixels a pixel is high
            wide = area.width / (pixel * aspect) * columns / width
            high = area.height / pixel * rows / height
        self.cells = wide * high
        side = 1 if self.grid.exact else 2
        if not self.grid.exact:
            high, wide = (side * max(1, round(length / side)) for length in (high, wide))
        self.sides = _side(high / side), _side(wide / side)
        self.bins, self.bin = _tiled(self.grid.shape, (side, side))
        if self.grid.exact:  # there, a first look at larger tiles saves most of the work
            tile = max(1, -(-self.sides[0].cells // 4)), max(1, -(-self.sides[1].cells // 4))
            self.tiles, self.tile = _tiled(self.grid.shape, tile)
            # A window may touch six tiles where its side is not a whole number of them.
            self.touched = tuple(
                Side(-(-(side.cells + (side.rest > 0) - 1) // size) + 1, 0.0)
                for side, size in zip(self.sides, tile, strict=True)
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
        return min(1.0, max(float(sums.max()) for sums in self._sums(points)) / self.cells)

    def room(self, points: Points, slack: float) -> bool:
        """Whether so many points could be too many at all, which is soon told."""
        least = self.least(slack)
        if len(points) < least or self.sides is None or not self.grid.exact:
            return len(points) >= least
        total = _summed(points, self.tiles, self.tile)
        return float(self.touched[1].sums(self.touched[0].sums(total)[0].T)[0].max()) >= least

    def crowded(self, points: Points, slacks: tuple[float, ...]) -> list[Points]:
        """For each slack, the points that lie in an area that has too many of them."""
        if not self.room(points, min(slacks)):
            return [points[:0] for _ in slacks]
        if self.sides is None:
            share = len(points) / self.cells
            return [points if self.exceeds(share, slack) else points[:0] for slack in slacks]
        sums, own = self._sums(points), self.bin[points]
        return [
            points[self._covered([self.exceeds(sum_ / self.cells, slack) for sum_ in sums]).ravel()[own]]
            for slack in slacks
        ]

    def _sums(self, points: Points) -> list[Counts]:
        """How many of the points lie in each window."""
        assert self.sides is not None
        total = _summed(points, self.bins, self.bin)
        return [sums.T for down in self.sides[0].sums(total) for sums in self.sides[1].sums(down.T)]

    def _covered(self, windows: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """The bins that lie within any of the windows, of each kind of which the first begins at the first bin."""
        if any(kind.all() for kind in windows):
            return np.ones(self.bins, bool)
        assert self.sides is not None
        high, wide = (
            min(side.cells + (side.rest > 0), length) for side, length in zip(self.sides, self.bins, strict=True)
        )
        edges = np.zeros((self.bins[0] + 1, self.bins[1] + 1), np.int32)
        for kind in windows:
            rows, columns = kind.shape
            if kind.any():
                marks = kind.astype(np.int32)
                edges[:rows, :columns] += marks
                edges[high : high + rows, :columns] -= marks
                edges[:rows, wide : wide + columns] -= marks
                edges[high : high + rows, wide : wide + columns] += marks
        return edges.cumsum(0).cumsum(1)[:-1, :-1] > 0


def _tiled(shape: tuple[int, int], tile: tuple[int, int]) -> tuple[tuple[int, int], Points]:
    """How many tiles there are, and in which each cell lies, by number."""
    (rows, columns), (high, wide) = shape, tile
    tiles = -(-rows // high), -(-columns // wide)
    number = (np.arange(rows) // high)[:, None] * tiles[1] + np.arange(columns) // wide
    return tiles, number.ravel()


def _summed(points: Points, tiles: tuple[int, int], tile: Points) -> Counts:
    """Points in all tiles above and to the left of each edge."""
    total = np.zeros((tiles[0] + 1, tiles[1] + 1), np.int32)
    total[1:, 1:] = np.bincount(tile[points], minlength=tiles[0] * tiles[1]).reshape(tiles)
    total.cumsum(0, out=total)
    total.cumsum(1, out=total)
    return total


def _side(length: float) -> Side:
    cells = int(length + 1e-9)
    rest = length - cells
    return Side(cells, rest if rest > 1e-9 else 0.0)

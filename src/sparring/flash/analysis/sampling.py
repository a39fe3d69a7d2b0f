"""Which points of a picture are looked at: one random point in each cell of a grid, or every pixel.

A point sample keeps the exact luminance of its pixel, so only areas are estimated, with a standard error of half the
square root of the number of cells on the edge of the area. Means over cells would lose flashes at edges, a regular
lattice would beat against stripes; a fixed random point in each cell does neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sparring.flash.reading.colour import Codes
from sparring.flash.reading.pictures import Picture, Plane

POINTS = 57_600  # for a coarse look: every sixth pixel each way at 1920 × 1080
PATCH = 1 << 16  # points handled together, so that what is computed for them stays in the processor's cache


@dataclass(frozen=True)
class Grid:
    """Points (row, column) in reading order, one for each cell of a `shape` of equal cells over the picture."""

    size: tuple[int, int]  # width, height of the picture
    shape: tuple[int, int]  # rows, columns of cells
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]

    @property
    def exact(self) -> bool:
        return self.shape == (self.size[1], self.size[0])

    def __len__(self) -> int:
        return self.shape[0] * self.shape[1]

    def patches(self) -> Iterator[slice]:
        for start in range(0, len(self), PATCH):
            yield slice(start, min(start + PATCH, len(self)))


def grid(size: tuple[int, int], points: int | None = POINTS) -> Grid:
    """About `points` cells over a picture of `size` (width, height), none smaller than a pixel; None: every pixel."""
    width, height = size
    stride = 1.0 if points is None else max(1.0, (width * height / points) ** 0.5)
    shape = max(1, round(height / stride)), max(1, round(width / stride))
    if points is None or width * height <= points:
        shape = height, width
    jitter = np.random.default_rng(1997)  # the same points for every picture of this size

    def inside(cells: int, length: int, axis: int) -> NDArray[np.intp]:
        edges = np.arange(cells + 1) * length // cells
        low, high = (np.expand_dims(side, 1 - axis) for side in (edges[:-1], edges[1:]))
        return (low + jitter.random(shape) * (high - low)).astype(np.intp).ravel()

    return Grid(size, shape, inside(shape[0], height, 0), inside(shape[1], width, 1))


@dataclass
class Taker:
    """Gathers the code values at some points of pictures that share a layout."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    _places: dict[tuple[object, ...], NDArray[np.intp]] = field(default_factory=dict)

    def codes(self, picture: Picture) -> list[Codes]:
        """The codes of every plane at the points, in the planes' own type."""
        return [
            plane.flat.take(self._place(plane, picture.shift if channel else (0, 0)), mode="clip")
            for channel, plane in enumerate(picture.planes)
        ]

    def _place(self, plane: Plane, shift: tuple[int, int]) -> NDArray[np.intp]:
        key = (plane.layout, shift)
        if key not in self._places:
            self._places[key] = plane.index(self.rows >> shift[1], self.columns >> shift[0])
        return self._places[key]

"""Small luminance maps of pictures: area averages, for what is a matter of shapes rather than of points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparring.flash.reading.colour import luminance
from sparring.flash.reading.pictures import Picture, Plane

ROWS, COLUMNS = 270, 480  # at most so many cells
_EACH = 4  # points a cell is averaged over, along each side: all of them at 1920 × 1080


@dataclass(frozen=True)
class Cells:
    """Square cells of a picture."""

    side: int  # pixels
    rows: int
    columns: int

    @classmethod
    def of(cls, size: tuple[int, int]) -> Cells:
        width, height = size
        side = min(width, height, max(1, -(-width // COLUMNS), -(-height // ROWS)))
        return cls(side, height // side, width // side)


def luminance_map(picture: Picture) -> NDArray[np.float32]:
    """Relative luminance (rows, columns), float32, averaged over cells.

    Code values are averaged before they are turned into light, which is exact where a cell is of one colour.
    """
    cells = Cells.of(picture.size)
    codes = [
        _averaged(plane, cells, picture.shift if channel else (0, 0)) for channel, plane in enumerate(picture.planes)
    ]
    return luminance(*picture.colour.light(codes))


def single_points(picture: Picture) -> NDArray[np.float32]:
    """Relative luminance (rows, columns) of the pixel in the middle of each cell."""
    cells = Cells.of(picture.size)
    codes = [
        _nearest(plane, cells, picture.shift if channel else (0, 0)) for channel, plane in enumerate(picture.planes)
    ]
    return luminance(*picture.colour.light(codes))


def _nearest(plane: Plane, cells: Cells, shift: tuple[int, int]) -> NDArray[np.uint16]:
    codes = plane.array()
    if not any(_shared(cells.side, way) for way in shift):
        across, down = (slice((cells.side // 2) >> way, None, cells.side >> way) for way in shift)
        return np.asarray(codes[down, across][: cells.rows, : cells.columns], np.uint16)
    places = [
        (np.arange(count) * cells.side + cells.side // 2) >> way
        for count, way in ((cells.rows, shift[1]), (cells.columns, shift[0]))
    ]
    return np.asarray(codes[np.ix_(*places)], np.uint16)


def _shared(side: int, way: int) -> bool:
    """Whether cells share values of a plane."""
    return side >> way << way != side


def _averaged(plane: Plane, cells: Cells, shift: tuple[int, int]) -> NDArray[np.uint16]:
    """Mean codes of the cells, rounded; where cells share a value of chroma, the nearest."""
    side = cells.side
    if any(_shared(side, way) for way in shift):
        return _nearest(plane, cells, shift)
    codes = plane.array()
    points = [side * (2 * n + 1) // (2 * min(side, _EACH)) for n in range(min(side, _EACH))]
    down = dict.fromkeys(point >> shift[1] for point in points)
    across = dict.fromkeys(point >> shift[0] for point in points)
    high, wide = side >> shift[1], side >> shift[0]
    kind = np.uint16 if codes.dtype == np.uint8 else np.uint32
    rows = np.zeros((cells.rows, cells.columns * wide), kind)  # whole rows first: they lie together
    for top in down:
        rows += codes[top : cells.rows * high : high, : cells.columns * wide]
    total = np.zeros((cells.rows, cells.columns), kind)
    for left in across:
        total += rows[:, left::wide]
    count = len(down) * len(across)
    return ((total + count // 2) // count).astype(np.uint16)

"""Small luminance maps of pictures: area averages, for what is a matter of shapes rather than of points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparring.flash.colour import luminance
from sparring.flash.pictures import Picture, Plane

ROWS, COLUMNS = 270, 480  # at most so many cells
_EACH = 4  # points a cell is averaged over, along each side: all of them at 1920 × 1080


def luminance_map(picture: Picture) -> NDArray[np.float32]:
    """Relative luminance (rows, columns), float32, of cells that are square in pixels of the picture.

    Code values are averaged before they are turned into light, which is exact where a cell is of one colour.
    """
    width, height = picture.size
    cell = max(1, -(-width // COLUMNS), -(-height // ROWS))
    rows, columns = max(1, height // cell), max(1, width // cell)
    codes = [
        _averaged(plane, rows, columns, cell, picture.shift if channel else (0, 0))
        for channel, plane in enumerate(picture.planes)
    ]
    return luminance(*picture.colour.light(codes)).reshape(rows, columns)


def _averaged(plane: Plane, rows: int, columns: int, cell: int, shift: tuple[int, int]) -> NDArray[np.uint16]:
    """Mean codes of the cells, rounded."""
    codes = plane.array()
    points = [cell * (2 * n + 1) // (2 * min(cell, _EACH)) for n in range(min(cell, _EACH))]
    down = dict.fromkeys(point >> shift[1] for point in points)
    across = dict.fromkeys(point >> shift[0] for point in points)
    if any(cell >> way << way != cell for way in shift):  # cells share chroma: the nearest
        places = [
            (np.arange(count) * cell + cell // 2) >> way for count, way in ((rows, shift[1]), (columns, shift[0]))
        ]
        return np.asarray(codes[np.ix_(*places)], np.uint16)
    high, wide = cell >> shift[1], cell >> shift[0]
    total = np.zeros((rows, columns), np.uint32)
    for top in down:
        for left in across:
            total += codes[top : rows * high : high, left : columns * wide : wide]
    count = len(down) * len(across)
    return ((total + count // 2) // count).astype(np.uint16)

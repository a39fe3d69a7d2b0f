"""Regular patterns made faint: where stripes are too many, they are drawn towards the mean of their surroundings."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import hypot
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from sparring.flash.mitigation.regulator import picture_of_planes
from sparring.flash.patterns.following import CONTRAST
from sparring.flash.reading.colour import luminance
from sparring.flash.reading.pictures import Picture
from sparring.flash.records import Box

FAINT = (0.85, 0.7, 0.5, 0.3, 0.0)  # of the contrast that makes a pattern, by how strict
LOOKED_AT = 40_000  # points from which the contrast is taken
TRIES = 6

Floats = NDArray[np.float32]


@dataclass
class Softener:
    """One pattern, from its start to its end."""

    start: float
    end: float
    boxes: tuple[Box, ...]
    pairs: int
    level: int
    keep: float = 1.0  # of the contrast: it may fall while the pattern lasts, and never rises, so as not to flicker
    _weights: list[Floats] = field(default_factory=list)

    @property
    def reach(self) -> float:
        """Pixels over which the mean is taken: two of the stripes' periods."""
        return max(
            2 * hypot(right - left, bottom - top) / max(1, self.pairs) for left, top, right, bottom in self.boxes
        )

    def soften(self, picture: Picture) -> Picture:
        """The picture with the pattern as faint as is needed."""
        planes = [plane.array().astype(np.float32) for plane in picture.planes]
        shifts = [(0, 0), *(picture.shift for _ in planes[1:])]
        if not self._weights:
            self._weights = [self._weight(plane.shape, shift) for plane, shift in zip(planes, shifts, strict=True)]
        means = [
            _mean(plane, (self.reach / (1 << shift[1]), self.reach / (1 << shift[0])))
            for plane, shift in zip(planes, shifts, strict=True)
        ]
        towards = [weight * (mean - plane) for weight, mean, plane in zip(self._weights, means, planes, strict=True)]
        self.keep = min(self.keep, self._kept(picture, planes, towards))
        if self.keep == 1:
            return picture
        soft = [
            np.rint(plane + (1 - self.keep) * way).astype(given.flat.dtype)
            for plane, way, given in zip(planes, towards, picture.planes, strict=True)
        ]
        return picture_of_planes(soft, picture)

    def _kept(self, picture: Picture, planes: list[Floats], towards: list[Floats]) -> float:
        """The most of the contrast that is faint enough."""
        width, height = picture.size
        stride = max(1, int((width * height / LOOKED_AT) ** 0.5))
        rows, columns = np.arange(0, height, stride)[:, None], np.arange(0, width, stride)[None]
        places: list[Any] = [(rows, columns)]
        places += [(rows >> picture.shift[1], columns >> picture.shift[0])] * (len(planes) - 1)
        inside = self._weights[0][rows, columns] > 0.99
        if not inside.any():
            return 1.0
        here = [(plane[at], way[at]) for plane, way, at in zip(planes, towards, places, strict=True)]

        def contrast(keep: float) -> float:
            codes = [np.rint(plane + (1 - keep) * way).astype(np.uint16) for plane, way in here]
            light = luminance(*picture.colour.light(codes))
            detail = (light - _mean(light, (self.reach / stride, self.reach / stride)))[inside]
            dark, bright = np.percentile(detail, (4, 96))
            return float(bright - dark)

        limit = CONTRAST * FAINT[self.level]
        if contrast(1.0) <= limit:
            return 1.0
        least, most = 0.0, 1.0
        for _ in range(TRIES):
            middle = (least + most) / 2
            least, most = (middle, most) if contrast(middle) <= limit else (least, middle)
        return least

    def _weight(self, shape: tuple[int, ...], shift: tuple[int, int]) -> Floats:
        """1 in the boxes, and falling to 0 over a period around them."""
        fall = self.reach / 2
        rows = (np.arange(shape[0]) << shift[1])[:, None]
        columns = (np.arange(shape[1]) << shift[0])[None]
        weight = np.zeros(shape, np.float32)
        for left, top, right, bottom in self.boxes:
            away = np.maximum(np.maximum(left - columns, columns - right), np.maximum(top - rows, rows - bottom))
            weight = np.maximum(weight, np.clip(1 - away / fall, 0, 1).astype(np.float32))
        return weight


def _mean(values: Floats, reach: tuple[float, float]) -> Floats:
    size = [max(1, min(2 * round(side) + 1, 2 * length - 1)) for side, length in zip(reach, values.shape, strict=True)]
    return np.asarray(uniform_filter(uniform_filter(values, size, mode="reflect"), size, mode="reflect"), np.float32)

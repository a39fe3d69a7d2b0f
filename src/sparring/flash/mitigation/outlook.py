"""Pictures to come: what a limiter that looks ahead aims at is the mean of what is shown next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from sparring.flash.mitigation.regulator import Planes
from sparring.flash.pictures import Picture

AHEAD = 0.4  # seconds
ROOM = 256 << 20  # bytes of pictures to come at most

T = TypeVar("T")


class Outlook(Generic[T]):
    """Goes through pictures, each with whatever belongs to it, and knows the mean of those of the next `AHEAD` seconds.

    Sums are kept only from the first question on until `forget`.
    """

    def __init__(self, pictures: Iterator[tuple[Picture, T]], ahead: float = AHEAD) -> None:
        self._source, self._ahead = pictures, ahead
        self._next: deque[tuple[Picture, T]] = deque()
        self._now: Picture
        self._sums: list[NDArray[np.int32]] | None = None

    def __iter__(self) -> Iterator[tuple[Picture, T]]:
        while self._fill(0.0):
            found = self._next.popleft()
            self._weigh(found[0], -1)  # before anybody writes to it
            self._now = found[0]
            self._fill(found[0].seconds + self._ahead)
            yield found

    def mean(self) -> Planes:
        """Of the codes of the pictures after the one at hand, plane by plane, as float32; at the end, of that one."""
        if self._sums is None:
            self._sums = [np.zeros((plane.rows, plane.columns), np.int32) for plane in self._now.planes]
            for picture, _ in self._next:
                self._weigh(picture, 1)
        if not self._next:
            return [plane.array().astype(np.float32) for plane in self._now.planes]
        return [total.astype(np.float32) / np.float32(len(self._next)) for total in self._sums]

    def forget(self) -> None:
        self._sums = None

    def _fill(self, until: float) -> bool:
        """Have at least one picture, and all that are shown up to a time; whether there is one."""
        while not self._next or self._next[-1][0].seconds < until:
            if self._next and len(self._next) * _bytes(self._next[0][0]) > ROOM:
                break
            if (found := next(self._source, None)) is None:
                break
            self._next.append(found)
            self._weigh(found[0], 1)
        return bool(self._next)

    def _weigh(self, picture: Picture, sign: int) -> None:
        for total, plane in zip(self._sums or (), picture.planes, strict=False):
            np.add(total, plane.array(), out=total) if sign > 0 else np.subtract(total, plane.array(), out=total)


def _bytes(picture: Picture) -> int:
    return sum(plane.rows * plane.columns * plane.flat.itemsize for plane in picture.planes)

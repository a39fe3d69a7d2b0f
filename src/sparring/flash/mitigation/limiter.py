"""Limiting a live source: a frame goes in, the frame that may be shown comes out, at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparring.errors import InputError
from sparring.flash.mitigation.regulator import Regulator
from sparring.flash.reading.clips import by, picture_of
from sparring.flash.reading.colour import Colour
from sparring.flash.reading.pictures import SRGB, Picture
from sparring.flash.standards import Standard, named


class Limiter:
    """Holds back, in frames that come one by one, what would go beyond one or several standards.

    `standard` as for `analyse`. What comes out has at every moment met their rules for flashes (not those that are
    advisory, nor those for patterns). Memory is constant; every pixel is looked at.
    """

    def __init__(
        self, standard: str | Standard | Iterable[str | Standard] = "wcag2.2", *, colour: Colour = SRGB
    ) -> None:
        self.standards, self.colour = named(standard), colour
        self._regulator = Regulator([(one, lambda _: True) for one in self.standards])
        self._last: Picture | None = None

    def push(self, frame: NDArray[Any], seconds: float) -> NDArray[Any]:
        """What may be shown instead of a frame (H, W, 3) or (H, W) at `seconds`: that frame itself wherever possible.

        uint8 sRGB codes, or what `colour` says. Raises InputError for another size, and for times that do not increase.
        """
        picture = picture_of(frame, seconds, self.colour)
        if (last := self._last) is not None:
            if picture.size != last.size:
                raise InputError(
                    f"frame is {by(picture.size)} pixels, those before it {by(last.size)}: begin a new Limiter"
                )
            if not picture.seconds > last.seconds:
                raise InputError(
                    f"seconds={picture.seconds} is not after the frame before at {last.seconds}: "
                    "push frames in the order in which they are shown"
                )
        self._last = picture
        shown = self._regulator.push(picture)
        return frame if shown is picture else array_of(shown)


def array_of(picture: Picture) -> NDArray[Any]:
    """The codes of a picture, (H, W, 3) or, for gray, (H, W)."""
    planes = [plane.array() for plane in picture.planes]
    return planes[0].copy() if len(planes) == 1 else np.stack(planes, axis=-1)

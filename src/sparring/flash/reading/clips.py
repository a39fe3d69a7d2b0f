"""Clips as streams of pictures with the times at which they are shown, and those made from arrays.

Nothing is swallowed: what was assumed is in `notes`, and what kept the rest of a clip from being read in `problem`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain, zip_longest
from types import TracebackType
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from sparring.errors import InputError
from sparring.flash.reading.colour import Colour
from sparring.flash.reading.pictures import SRGB, Picture, of_array

Source: TypeAlias = tuple[Iterable[NDArray[Any]], Iterable[float]]
"""Frames, and when each is shown in seconds."""

LARGEST_SIDE = 16384
LARGEST_PICTURE = 1 << 27  # pixels


class Clip:
    """A clip to be read, once or several times: `pictures()` begins anew each time."""

    def __init__(self, name: str, size: tuple[int, int], colour: Colour) -> None:
        self.name = name
        self.size = size  # width, height of the frames in pixels, as shown
        self.colour = colour  # of the first picture
        self.rate: float | None = None  # pictures a second, where known; of an interlaced clip, fields
        self.duration: float | None = None  # seconds; where the file does not say, known after reading it
        self.frames_expected: int | None = None
        self.sample_aspect = Fraction(1)  # how much wider than high a pixel is shown
        self.loops = False  # an animation that is shown more than once
        self.problem: str | None = None  # after reading: why only a part could be read
        self._notes: dict[str, None] = dict.fromkeys(colour.notes)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed or done: sentences. Complete after reading."""
        return tuple(self._notes)

    def note(self, sentence: str) -> None:
        self._notes[sentence] = None

    def pictures(self) -> Iterator[Picture]:
        """The pictures in the order in which they are shown, at strictly increasing times from 0."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open between readings; here for the sake of `with`."""

    def __enter__(self) -> Clip:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def picture_of(frame: NDArray[Any], seconds: float | None, colour: Colour = SRGB) -> Picture:
    """A picture of an array (H, W, 3) or (H, W) and its time in seconds. Contiguous arrays are not copied."""
    if seconds is None or not np.isfinite(seconds):
        raise InputError(f"seconds is {seconds}: pass with each frame the time at which it is shown, in seconds.")
    return of_array(frame, float(seconds), colour)


def from_arrays(frames: Iterable[NDArray[Any]], seconds: Iterable[float], colour: Colour = SRGB) -> Clip:
    """A clip of frames (T, H, W, 3) or (T, H, W), uint8 (uint16 if `colour.bits` > 8), shown at `seconds` (T,).

    Iterables of frames and times are read as they go; a generator can be read once. Raises InputError for other types
    and shapes, and for times that are not finite and strictly increasing.
    """
    return _Arrays(frames, seconds, colour)


class _Arrays(Clip):
    def __init__(self, frames: Iterable[NDArray[Any]], seconds: Iterable[float], colour: Colour) -> None:
        if isinstance(frames, np.ndarray) and frames.ndim not in (3, 4):
            raise InputError(f"frames have the shape {frames.shape}; pass (T, height, width, 3) or (T, height, width).")
        lengths = [len(cast(Any, part)) if hasattr(part, "__len__") else None for part in (frames, seconds)]
        if 0 in lengths:
            raise InputError("there are no frames: pass at least one, with its time.")
        if None not in lengths and lengths[0] != lengths[1]:
            raise InputError(f"there are {lengths[0]} frames but {lengths[1]} times: pass one time in seconds a frame.")
        self._once = iter(frames) is frames or iter(seconds) is seconds
        self._source: Source = frames, seconds
        if lengths[1] is not None:
            seconds = np.asarray(seconds, dtype=np.float64)
            _check_times(seconds)
        self._begun = False
        pairs = zip_longest(frames, seconds)
        first = next(pairs, (None, None))
        if first[0] is None:
            raise InputError("there are no frames: pass at least one, with its time.")
        self._rest = chain([first], pairs)  # the first was looked at, but is not lost
        picture = of_array(first[0], 0.0, colour)
        check_size("frames", *picture.size)
        super().__init__("arrays", picture.size, picture.colour)
        self._given = colour
        self.frames_expected = lengths[0] or lengths[1]
        if isinstance(seconds, np.ndarray):
            last = len(seconds) - 1
            if last:
                self.rate = last / float(seconds[-1] - seconds[0])
                self.duration = float(seconds[-1] - seconds[0]) + 1 / self.rate

    def pictures(self) -> Iterator[Picture]:
        if self._once and self._begun:
            raise InputError("frames come from a generator and were read already: pass an array or a list.")
        self._begun, self.problem = True, None
        before: float | None = None
        pairs = self._rest if self._once else zip_longest(*self._source)
        for number, (frame, seconds) in enumerate(pairs):
            if frame is None or seconds is None:
                raise InputError(f"frames and seconds differ in number after {number}: pass one time a frame.")
            picture = picture_of(frame, seconds, self._given)
            if picture.size != self.size:
                raise InputError(f"frame {number} is {by(picture.size)} pixels, the first {by(self.size)}.")
            if before is not None and not picture.seconds > before:
                raise InputError(f"seconds must increase: {before} is followed by {picture.seconds} at frame {number}.")
            before = picture.seconds
            yield picture


def _check_times(seconds: NDArray[np.float64]) -> None:
    if seconds.ndim != 1:
        raise InputError(f"seconds have the shape {seconds.shape}; pass (T,), one time a frame.")
    wrong = np.flatnonzero(~np.isfinite(seconds))
    if wrong.size:
        raise InputError(f"seconds[{wrong[0]}] is {seconds[wrong[0]]}; pass finite times.")
    wrong = np.flatnonzero(np.diff(seconds) <= 0)
    if wrong.size:
        at = int(wrong[0]) + 1
        raise InputError(f"seconds must increase: {seconds[at - 1]} is followed by {seconds[at]} at frame {at}.")


def check_size(what: str, width: int, height: int) -> None:
    """InputError for a picture that is larger than is worth the memory."""
    if max(width, height) > LARGEST_SIDE or width * height > LARGEST_PICTURE:
        raise InputError(
            f"{what}: a picture of {by((width, height))} pixels is too large; at most {LARGEST_SIDE} a side and "
            f"{LARGEST_PICTURE} in all: scale it down first."
        )


def by(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"

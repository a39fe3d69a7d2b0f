"""The frames of a file together with the pictures read from them, so that a changed picture can be put back.

A frame is opaque and in a format whose buffer the reader reads in place; a field of an interlaced frame, or a picture
that is shown turned, is a view of that buffer, and what is written through the view is in the frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from sparring.flash.reading.clips import Clip
from sparring.flash.reading.files import File, open_clip
from sparring.flash.reading.pictures import Picture, Plane, of_frame, pixel_format

if TYPE_CHECKING:
    from av import VideoFrame

_OPAQUE = {"yuva": "yuv", "gbrap": "gbrp", "ya8": "gray", "ya16le": "gray16le", "rgba64le": "rgb48le"}


@dataclass(eq=False)
class Shot:
    """A decoded frame, and its picture as shown (its two fields where it is interlaced)."""

    frame: VideoFrame
    pictures: list[Picture]
    changed: bool = False

    @property
    def seconds(self) -> float:
        return self.pictures[0].seconds

    def put(self, number: int, picture: Picture) -> None:
        """Put other codes in place of one of the pictures."""
        for plane, new in zip(self.pictures[number].planes, picture.planes, strict=True):
            codes = new.array()
            room = writable(plane)
            # the field of a frame in a clip that is not all interlaced is shown with every row twice
            room[:] = codes if codes.shape == room.shape else codes[:: codes.shape[0] // room.shape[0]][: len(room)]
        self.changed = True


def writable(plane: Plane) -> NDArray[Any]:
    """The plane as a (rows, columns) view to be written through."""
    size = plane.flat.itemsize
    start = plane.flat[plane.start :]
    return np.lib.stride_tricks.as_strided(
        start, (plane.rows, plane.columns), (plane.stride * size, plane.step * size), writeable=True
    )


class _Frames(File):
    """A clip that gives shots in place of pictures."""

    def _shown(self, frame: VideoFrame, seconds: float, step: float) -> Iterator[Any]:
        frame = _opaque(frame)
        yield Shot(frame, list(super()._shown(frame, seconds, step)))


def shots(path: Path) -> tuple[Clip, Iterator[Shot]]:
    """A file as a clip, and its frames with their pictures in the order in which they are shown."""
    clip = open_clip(path)
    if isinstance(clip, File):
        clip = _Frames(path)
        return clip, cast("Iterator[Shot]", clip.pictures())
    return clip, (_framed(picture) for picture in clip.pictures())


def _framed(picture: Picture) -> Shot:
    """A picture that comes from no frame, in one."""
    from av import VideoFrame

    frame = VideoFrame.from_ndarray(np.stack([plane.array() for plane in picture.planes], axis=-1), "rgb24")
    own, _ = of_frame(frame, picture.seconds, picture.aspect)
    return Shot(frame, [own])


def _opaque(frame: VideoFrame) -> VideoFrame:
    """The frame itself where its buffer can be read in place and written to; else a copy, over white."""
    from av import VideoFrame

    layout = pixel_format(frame.format.name, deep=any(part.bits > 8 for part in frame.format.components))
    if not layout.convert and layout.alpha is None:
        frame.make_writable()
        return frame
    if layout.alpha is None:
        return frame.reformat(format=layout.convert)
    name = layout.convert or frame.format.name
    for start, opaque in _OPAQUE.items():
        if name.startswith(start):
            name = opaque + name.removeprefix(start)
            break
    else:
        name = "rgb24"
    picture, _ = of_frame(frame, 0.0)
    copy = VideoFrame(frame.width, frame.height, name)
    copy.pts, copy.time_base, copy.duration = frame.pts, frame.time_base, frame.duration
    for tag in ("colorspace", "color_range", "color_trc", "color_primaries"):
        setattr(copy, tag, getattr(frame, tag))
    target, _ = of_frame(copy, 0.0)
    for plane, codes in zip(target.planes, picture.planes, strict=True):
        writable(plane)[:] = codes.array()
    return copy

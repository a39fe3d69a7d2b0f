"""Animated pictures: what FFmpeg does not tell of GIF, PNG and WebP, and WebP itself, by Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from sparring.errors import InputError
from sparring.flash.reading.clips import Clip, check_size, picture_of
from sparring.flash.reading.pictures import SRGB, Picture

_PNG_END = b"IEND\xae\x42\x60\x82"


class WebP(Clip):
    """An animated WebP or a still one, over white where it is transparent."""

    def __init__(self, file: Path) -> None:
        self._file = file
        with _pillow(file) as image:
            check_size(str(file), *image.size)
            super().__init__(str(file), image.size, SRGB)
            self.frames_expected = int(getattr(image, "n_frames", 1))
            self.loops = self.frames_expected > 1 and loops(self)

    def pictures(self) -> Iterator[Picture]:
        self.problem, seconds, number = damage(self._file), 0.0, 0
        with _pillow(self._file) as image:
            white = Image.new("RGBA", image.size, "white")
            for number in range(self.frames_expected or 1):
                try:
                    image.seek(number)
                    frame = image.convert("RGBA")
                except (OSError, EOFError, SyntaxError) as error:
                    self.problem = f"the file cannot be decoded after frame {number} at {seconds:.3f} s ({error})"
                    return
                if np.asarray(frame)[..., 3].min() < 255:
                    self.note("transparent pixels are shown over white")
                yield picture_of(np.asarray(Image.alpha_composite(white, frame).convert("RGB")), seconds, SRGB)
                lasts = image.info.get("duration", 0)
                seconds += (lasts if lasts > 10 else 100) / 1000  # as browsers do
        self.duration = seconds
        self.rate = (number + 1) / seconds


def loops(clip: Clip) -> bool:
    """Whether an animation is shown more than once; GIF counts the repetitions, PNG and WebP the showings."""
    with _pillow(Path(clip.name)) as image:
        times, gif = image.info.get("loop"), image.format == "GIF"
    if times is None or (times == 1 and not gif):
        return False
    clip.note("loops for ever" if times == 0 else f"loops, by its count {times}")
    return True


def damage(file: Path) -> str | None:
    """Whether an animation lacks its end or has lost its structure, which decoders pass over in silence."""
    with file.open("rb") as data:
        start = data.read(13)
        if start[:3] == b"GIF":
            return _gif_damage(data, start)
        if start[:4] == b"\x89PNG":
            data.seek(-min(64, file.stat().st_size), 2)
            return None if _PNG_END in data.read() else "the file is damaged: its end is missing"
        if start[:4] == b"RIFF" and int.from_bytes(start[4:8], "little") + 8 > file.stat().st_size:
            return "the file is damaged: its end is missing"
    return None


def _gif_damage(data: BinaryIO, start: bytes) -> str | None:
    """Walk over the blocks of a GIF (GIF89a specification) to its trailer."""

    def skip_table(flags: int) -> None:
        if flags & 0x80:
            data.seek(3 << ((flags & 7) + 1), 1)

    skip_table(start[10])
    while (kind := data.read(1)) != b";":
        if kind == b",":
            header = data.read(9)
            skip_table(header[8] if len(header) == 9 else 0)
        elif kind != b"!":
            return "the file is damaged: " + ("a block of it is broken" if kind else "its end is missing")
        data.read(1)  # least code size, or the kind of the extension
        while (size := data.read(1)) not in (b"\0", b""):
            data.seek(size[0], 1)
    return None


def _pillow(file: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():  # its limit of size is not ours
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(file)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason: Any = getattr(error, "strerror", None) or error
        raise InputError(f"path {file} cannot be read as a picture ({reason}): export or copy it again.") from error

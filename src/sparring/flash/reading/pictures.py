"""A picture as the decoder left it: planes of code values that are gathered from without copying them.

Whatever a pixel format, a turned phone, a field of an interlaced frame or a bottom-up bitmap does to the order of the
values is a start and two steps into a flat buffer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from sparring.errors import InputError
from sparring.flash.reading.colour import Codes, Colour, tagged

if TYPE_CHECKING:
    from av import VideoFrame

SRGB = Colour()


@dataclass(frozen=True, eq=False)
class Plane:
    """One channel: the value at (row, column) is `flat[start + row * stride + column * step]`, steps of any sign."""

    flat: Codes  # (n,), a view of the decoder's buffer
    stride: int  # items from a row to the next
    rows: int
    columns: int
    step: int = 1  # items from a column to the next: 3 for packed RGB
    start: int = 0  # not 0 where a picture is turned or stored bottom up

    @property
    def layout(self) -> tuple[int, int, int, int, int]:
        """What an index into `flat` depends on."""
        return self.start, self.stride, self.step, self.rows, self.columns

    def index(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.intp]:
        """Positions in `flat` of the points at these rows and columns of the plane."""
        return np.asarray(self.start + rows * self.stride + columns * self.step, dtype=np.intp)

    def array(self) -> NDArray[Any]:
        """The plane as a (rows, columns) view."""
        size = self.flat.itemsize
        return np.lib.stride_tricks.as_strided(
            self.flat[self.start :],
            (self.rows, self.columns),
            (self.stride * size, self.step * size),
            writeable=False,
        )

    def turned(self, turn: Turn) -> Plane:
        """The plane as shown after a turn."""
        start, stride, step = self.start, self.stride, self.step
        if turn.left_right:
            start, step = start + (self.columns - 1) * step, -step
        if turn.upside_down:
            start, stride = start + (self.rows - 1) * stride, -stride
        if turn.swap:
            return replace(self, start=start, stride=step, step=stride, rows=self.columns, columns=self.rows)
        return replace(self, start=start, stride=stride, step=step)

    def field(self, parity: int, rows: int) -> Plane:
        """Every other row, from row `parity`."""
        return replace(self, start=self.start + parity * self.stride, stride=2 * self.stride, rows=rows)


@dataclass(frozen=True)
class Turn:
    """How the stored picture is shown: mirrored along its own axes, then rows and columns swapped."""

    left_right: bool = False
    upside_down: bool = False
    swap: bool = False

    @classmethod
    def of(cls, matrix: NDArray[np.int32]) -> Turn:
        """From a 3 × 3 display matrix, stored x and y to those shown; oblique angles go to the nearest right one."""
        (a, b), (c, d) = matrix[0, :2].tolist(), matrix[1, :2].tolist()
        if abs(b) + abs(c) > abs(a) + abs(d):  # shown x = c · y, shown y = b · x
            return cls(left_right=b < 0, upside_down=c < 0, swap=True)
        return cls(left_right=a < 0, upside_down=d < 0)

    def __bool__(self) -> bool:
        return self.left_right or self.upside_down or self.swap


@dataclass(frozen=True, eq=False)
class Picture:
    """Point (r, c) of the picture as shown reads plane 0 at (r, c) and the others at (r >> shift[1], c >> shift[0])."""

    planes: tuple[Plane, ...]  # R, G, B, or Y, Cb, Cr, or one for gray
    colour: Colour
    seconds: float  # presentation time, the clip's first picture being at 0
    size: tuple[int, int]  # width, height in pixels as shown; a field has half the frame's height
    shift: tuple[int, int] = (0, 0)  # log2 of the chroma subsampling, x and y
    aspect: float = 1.0  # how much wider than high a pixel is shown

    @property
    def layout(self) -> tuple[object, ...]:
        """Pictures of equal layout can be sampled by the same indices."""
        return self.size, self.shift, tuple(plane.layout for plane in self.planes)

    def turned(self, turn: Turn) -> Picture:
        """The picture as shown after a turn."""
        if not turn:
            return self
        planes = tuple(plane.turned(turn) for plane in self.planes)
        size = (self.size[1], self.size[0]) if turn.swap else self.size
        shift = (self.shift[1], self.shift[0]) if turn.swap else self.shift
        aspect = 1 / self.aspect if turn.swap else self.aspect
        return replace(self, planes=planes, size=size, shift=shift, aspect=aspect)

    def field(self, parity: int, seconds: float, *, doubled: bool = False) -> Picture:
        """The field of the rows 0, 2, 4 … (parity 0) or 1, 3, 5 …; `doubled` repeats its rows to the frame's height."""
        shift = self.shift[1]
        chroma = min((plane.rows - parity + 1) // 2 for plane in self.planes) if shift else self.size[1]
        rows = min(self.size[1] // 2, chroma << shift)
        planes = []
        for number, plane in enumerate(self.planes):
            field = plane.field(parity, rows if number == 0 else -(-rows >> shift))
            if doubled:
                lines = np.minimum(np.arange(plane.rows) // 2, field.rows - 1)
                flat = field.array()[lines].reshape(-1)
                field = Plane(flat, plane.columns, plane.rows, plane.columns)
            planes.append(field)
        if doubled:
            return replace(self, planes=tuple(planes), seconds=seconds)
        size, aspect = (self.size[0], rows), self.aspect * rows / self.size[1]
        return replace(self, planes=tuple(planes), seconds=seconds, size=size, aspect=aspect)


def of_array(frame: NDArray[Any], seconds: float, colour: Colour = SRGB) -> Picture:
    """A picture of a uint8 array (H, W, 3) or (H, W), or uint16 where `colour.bits` says so; no copy if contiguous."""
    frame = np.asarray(frame)
    if frame.dtype not in (np.uint8, np.uint16):
        remedy = "multiply by 255, round and convert to uint8" if frame.dtype.kind == "f" else "convert to uint8"
        raise InputError(f"frames hold {frame.dtype}; code values are uint8, or uint16 with Colour(bits=10): {remedy}.")
    if (frame.dtype == np.uint8) != (colour.bits == 8):
        raise InputError(
            f"frames are {frame.dtype}, but the colour says {colour.bits} bits: "
            "pass uint8 with Colour(bits=8), or uint16 with Colour(bits=10) or whatever their depth is."
        )
    if frame.ndim not in (2, 3) or (frame.ndim == 3 and frame.shape[2] != 3) or 0 in frame.shape:
        raise InputError(f"a frame has the shape {frame.shape}; pass (height, width, 3) or, for gray, (height, width).")
    if (frame.ndim == 2) != (colour.model == "gray"):
        if frame.ndim == 3 or colour.model == "yuv":
            raise InputError(f"a frame of the shape {frame.shape} cannot hold {colour.model}: check Colour(model=...).")
        colour = replace(colour, model="gray")
    height, width = frame.shape[:2]
    flat = np.ascontiguousarray(frame).reshape(-1)
    channels = 1 if frame.ndim == 2 else 3
    planes = tuple(Plane(flat[channel:], width * channels, height, width, channels) for channel in range(channels))
    return Picture(planes, colour, float(seconds), (width, height))


@dataclass(frozen=True)
class Format:
    """Where a pixel format of FFmpeg keeps its channels: (plane, offset, step) each."""

    model: Literal["rgb", "yuv", "gray"]
    bits: int
    channels: tuple[tuple[int, int, int], ...]
    shift: tuple[int, int] = (0, 0)
    alpha: tuple[int, int, int] | None = None
    jpeg: bool = False
    convert: str = ""  # to be converted to this format first


_SHIFTS = {"410": (2, 2), "411": (2, 0), "420": (1, 1), "422": (1, 0), "440": (0, 1), "444": (0, 0)}
_PACKED = {"rgb": (0, 1, 2), "bgr": (2, 1, 0), "xrgb": (1, 2, 3), "xbgr": (3, 2, 1)}
_INTERLEAVED = {  # semi-planar and packed YCbCr: channels, shift
    "nv12": (((0, 0, 1), (1, 0, 2), (1, 1, 2)), (1, 1)),
    "nv21": (((0, 0, 1), (1, 1, 2), (1, 0, 2)), (1, 1)),
    "nv16": (((0, 0, 1), (1, 0, 2), (1, 1, 2)), (1, 0)),
    "nv24": (((0, 0, 1), (1, 0, 2), (1, 1, 2)), (0, 0)),
    "yuyv422": (((0, 0, 2), (0, 1, 4), (0, 3, 4)), (1, 0)),
    "yvyu422": (((0, 0, 2), (0, 3, 4), (0, 1, 4)), (1, 0)),
    "uyvy422": (((0, 1, 2), (0, 0, 4), (0, 2, 4)), (1, 0)),
}
_SHIFTED = {"p010": "yuv420p10le", "p012": "yuv420p12le", "p016": "yuv420p16le"}
_SHIFTED |= {"p210": "yuv422p10le", "p212": "yuv422p12le", "p216": "yuv422p16le"}
_SHIFTED |= {"p410": "yuv444p10le", "p412": "yuv444p12le", "p416": "yuv444p16le"}


@lru_cache(maxsize=64)
def pixel_format(name: str, *, deep: bool = False) -> Format:
    """How to read a pixel format by FFmpeg's name; those not known are converted to RGB, of 16 bits if `deep`."""
    if found := re.fullmatch(r"yuv(a?)(j?)(410|411|420|422|440|444)p(\d*)(le|be)?", name):
        alpha, jpeg, sampling, bits, order = found.groups()
        plain = "" if order != "be" else name.removesuffix("be") + "le"
        planes = ((0, 0, 1), (1, 0, 1), (2, 0, 1))
        opacity = (3, 0, 1) if alpha else None
        return Format("yuv", int(bits or 8), planes, _SHIFTS[sampling], opacity, bool(jpeg), plain)
    if found := re.fullmatch(r"gbr(a?)p(\d*)(le|be)?", name):
        alpha, bits, order = found.groups()
        plain = "" if order != "be" else name.removesuffix("be") + "le"
        opacity = (3, 0, 1) if alpha else None
        return Format("rgb", int(bits or 8), ((2, 0, 1), (0, 0, 1), (1, 0, 1)), alpha=opacity, convert=plain)
    if found := re.fullmatch(r"gray(\d*)(le|be)?", name):
        plain = "" if found[2] != "be" else name.removesuffix("be") + "le"
        return Format("gray", int(found[1] or 8), ((0, 0, 1),), convert=plain)
    if found := re.fullmatch(r"ya(8|16)(le|be)?", name):
        plain = "" if found[2] != "be" else name.removesuffix("be") + "le"
        return Format("gray", int(found[1]), ((0, 0, 2),), alpha=(0, 1, 2), convert=plain)
    if found := re.fullmatch(r"(rgb|bgr)(24|48le)|(?:(rgb|bgr)([0a])|([0a])(rgb|bgr))(64le)?", name):
        if found[1]:
            return Format("rgb", 8 if found[2] == "24" else 16, tuple((0, i, 3) for i in _PACKED[found[1]]))
        order = _PACKED[found[3] or f"x{found[6]}"]
        opacity = (0, 3 if found[3] else 0, 4) if "a" in (found[4], found[5]) else None
        return Format("rgb", 16 if found[7] else 8, tuple((0, i, 4) for i in order), alpha=opacity)
    if name in _INTERLEAVED:
        channels, shift = _INTERLEAVED[name]
        return Format("yuv", 8, channels, shift)
    if (stem := name.removesuffix("le").removesuffix("be")) in _SHIFTED:
        return replace(pixel_format(_SHIFTED[stem]), convert=_SHIFTED[stem])
    target = "rgba64le" if deep else "rgba"  # with opacity, for palettes may have it
    return replace(pixel_format(target), convert=target)


def of_frame(frame: VideoFrame, seconds: float, aspect: float = 1.0) -> tuple[Picture, bool]:
    """A picture of a decoded frame, and whether parts of it were transparent: those are shown over white."""
    name = frame.format.name
    layout = pixel_format(name, deep=any(part.bits > 8 for part in frame.format.components))
    colour = tagged(
        layout.model,
        layout.bits,
        matrix=int(frame.colorspace),
        limits=int(frame.color_range),
        primaries=int(frame.color_primaries),
        transfer=int(frame.color_trc),
        lines=frame.height,
        jpeg=layout.jpeg,
    )
    if layout.convert:
        if layout.model == "rgb":
            colour = replace(colour, full=True)
        frame = frame.reformat(format=layout.convert)
    width, height = frame.width, frame.height
    across, down = layout.shift
    dtype = np.dtype(np.uint8) if layout.bits == 8 else np.dtype("<u2")
    buffers: list[tuple[Any, int]] = [
        (np.frombuffer(cast(Any, plane), dtype), plane.line_size // dtype.itemsize) for plane in frame.planes
    ]

    def plane(where: tuple[int, int, int], shift: tuple[int, int]) -> Plane:
        number, offset, step = where
        flat, stride = buffers[number]
        rows, columns = -(-height >> shift[1]), -(-width >> shift[0])
        # PyAV gives bottom-up bitmaps from their lowest address, the last row
        start = (rows - 1) * -stride if stride < 0 else 0
        return Plane(flat[offset:] if offset else flat, stride, rows, columns, step, start)

    planes = tuple(plane(where, (across, down) if number else (0, 0)) for number, where in enumerate(layout.channels))
    seen = False
    if layout.alpha is not None:
        opacity = plane(layout.alpha, (0, 0)).array()
        if seen := bool(opacity.min() < (1 << layout.bits) - 1):
            planes = _over_white(planes, opacity, colour, layout.shift)
    return Picture(planes, colour, seconds, (width, height), layout.shift, aspect), seen


def _over_white(
    planes: tuple[Plane, ...], alpha: NDArray[Any], colour: Colour, shift: tuple[int, int]
) -> tuple[Plane, ...]:
    """Composite in code values, as browsers do; YCbCr is linear in R'G'B', so that its planes can be mixed alike."""
    most = (1 << colour.bits) - 1
    white = most if colour.full else 235 << (colour.bits - 8)
    mixed = []
    for number, plane in enumerate(planes):
        chroma = colour.model == "yuv" and number > 0
        goal = 1 << (colour.bits - 1) if chroma else white
        opacity = (alpha[:: 1 << shift[1], :: 1 << shift[0]] if chroma else alpha).astype(np.uint64)
        codes: NDArray[Any] = (plane.array() * opacity + goal * (most - opacity) + most // 2) // most
        flat: Any = codes.astype(plane.flat.dtype).reshape(-1)
        mixed.append(Plane(flat, plane.columns, plane.rows, plane.columns))
    return tuple(mixed)

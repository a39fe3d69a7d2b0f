"""How code values become light: matrices, ranges and transfer functions (ITU-R BT.601, 709, 1886, 2020, 2100; sRGB).

Light is linear, in BT.709 primaries and relative to reference white: 1.0 is SDR code 255, which stands for 200 cd/m²
(ITU-R BT.1702-3, note 3). PQ is absolute (ST 2084); HLG is shown at a nominal peak of 1,000 cd/m² with its system
gamma of 1.2 (BT.2100-2). So PQ and HLG can reach 50 and 5. The primaries of BT.601 (SMPTE-C and EBU) are read as
those of BT.709: they differ by less than a change of code value does near any threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Codes: TypeAlias = "NDArray[np.uint8] | NDArray[np.uint16]"
Floats: TypeAlias = NDArray[np.float32]
Sdr: TypeAlias = Literal["srgb", "bt1886"]
Curve: TypeAlias = Literal["srgb", "bt1886", "pq", "hlg", "linear"]
Matrix: TypeAlias = Literal["bt601", "bt709", "bt2020"]
Primaries: TypeAlias = Literal["bt709", "bt601", "bt2020", "p3"]
Transfer: TypeAlias = Literal["sdr", "pq", "hlg", "linear"]

REFERENCE = 200.0  # cd/m² of reference white
LUMA: dict[Matrix, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}
CHROMATICITIES: dict[Primaries, tuple[tuple[float, float], ...]] = {  # x, y of red, green, blue; white is always D65
    "bt709": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    "bt601": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    "bt2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    "p3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
D65 = (0.3127, 0.3290)
XYZ = np.array(  # linear sRGB to XYZ, as WCAG 2.2 gives it
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WEIGHTS = (np.float32(0.2126), np.float32(0.7152), np.float32(0.0722))

PQ_M1, PQ_M2, PQ_C1, PQ_C2, PQ_C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
HLG_A, HLG_B, HLG_C = 0.17883277, 0.28466892, 0.55991073
HLG_PEAK, HLG_GAMMA = 1000.0, 1.2


@dataclass(frozen=True)
class Colour:
    """What the code values of a picture stand for. Hashable; `notes` say what was assumed for lack of tags."""

    model: Literal["rgb", "yuv", "gray"] = "rgb"
    bits: int = 8  # 8 to 16
    full: bool = True  # False: limited range, black at 16 and white at 235 (of 8 bits)
    matrix: Matrix = "bt709"  # only for yuv
    primaries: Primaries = "bt709"
    transfer: Transfer = "sdr"  # sdr is read as sRGB or as BT.1886, whichever the standard says
    notes: tuple[str, ...] = ()

    @property
    def hdr(self) -> bool:
        """Whether light above reference white can be coded: PQ and HLG."""
        return self.transfer in ("pq", "hlg")

    def light(self, codes: Sequence[Codes], sdr: Sdr = "srgb") -> tuple[Floats, Floats, Floats]:
        """Linear R, G and B (float32, BT.709 primaries, 1.0 = reference white) of three equal-shape arrays of codes.

        `codes` are (R, G, B), (Y, Cb, Cr) or, for gray, one array (and then the three results are one array). R'G'B'
        is clipped to [0, 1]; the conversion from wider primaries is not, so that values may be negative there.
        """
        curve: Curve = sdr if self.transfer == "sdr" else self.transfer
        if self.model == "yuv":
            red, green, blue = self._from_yuv(codes, curve)
        else:
            table = _code_table(self.bits, self.full, curve)
            if self.model == "gray":
                red = green = blue = table.take(codes[0], mode="clip")
            else:
                red, green, blue = (table.take(plane, mode="clip") for plane in codes)
        if curve == "hlg":
            red, green, blue = _hlg_shown(red, green, blue, self.primaries)
        if self.primaries in ("bt709", "bt601") or self.model == "gray":
            return red, green, blue
        return _mixed(_primaries(self.primaries, "bt709"), red, green, blue)

    def codes(self, red: Floats, green: Floats, blue: Floats, sdr: Sdr = "srgb") -> tuple[Floats, ...]:
        """The inverse of `light`: code values as float32 before rounding, clipped to what R'G'B' in [0, 1] can reach.

        One array for gray (from the luminance), else three. Chroma is at the resolution given; subsampling is the
        caller's.
        """
        curve: Curve = sdr if self.transfer == "sdr" else self.transfer
        if self.model == "gray":
            red = green = blue = luminance(red, green, blue)
        elif self.primaries not in ("bt709", "bt601"):
            red, green, blue = _mixed(_primaries("bt709", self.primaries), red, green, blue)
        if curve == "hlg":
            red, green, blue = _hlg_scene(red, green, blue, self.primaries)
        coded = [_encode(channel, curve) for channel in (red, green, blue)]
        black, span = _luma_range(self.bits, self.full)
        if self.model == "gray":
            return (coded[0] * np.float32(span) + np.float32(black),)
        if self.model == "rgb":
            return tuple(channel * np.float32(span) + np.float32(black) for channel in coded)
        kr, kb = LUMA[self.matrix]
        luma = coded[0] * np.float32(kr) + coded[1] * np.float32(1 - kr - kb) + coded[2] * np.float32(kb)
        middle, swing = _chroma_range(self.bits, self.full)
        highest = np.float32((1 << self.bits) - 1)
        cb = (coded[2] - luma) * np.float32(swing / (2 - 2 * kb)) + np.float32(middle)
        cr = (coded[0] - luma) * np.float32(swing / (2 - 2 * kr)) + np.float32(middle)
        return luma * np.float32(span) + np.float32(black), np.minimum(cb, highest), np.minimum(cr, highest)

    def _from_yuv(self, codes: Sequence[Codes], curve: Curve) -> tuple[Floats, Floats, Floats]:
        # Floats are multiplied and added, then truncated to an index into a fine table: several times faster than
        # tables of the terms, because only the last step gathers.
        luma_codes, cb_codes, cr_codes = codes
        table = _curve_table(curve)
        last = len(table) - 1
        kr, kb = LUMA[self.matrix]
        kg = 1 - kr - kb
        black, span = _luma_range(self.bits, self.full)
        middle, swing = _chroma_range(self.bits, self.full)
        luma = np.multiply(luma_codes, np.float32(last / span), dtype=np.float32)
        luma += np.float32(0.5 - black * last / span)  # the half rounds, as truncation follows
        cb = np.subtract(cb_codes, np.float32(middle), dtype=np.float32)  # exactly 0 for grey: R = G = B
        cr = np.subtract(cr_codes, np.float32(middle), dtype=np.float32)
        red = cr * np.float32(2 * (1 - kr) * last / swing)
        red += luma
        blue = cb * np.float32(2 * (1 - kb) * last / swing)
        blue += luma
        cr *= np.float32(-2 * (1 - kr) * kr / kg * last / swing)
        cb *= np.float32(-2 * (1 - kb) * kb / kg * last / swing)
        luma += cr
        luma += cb
        return tuple(table.take(channel.astype(np.int32), mode="clip") for channel in (red, luma, blue))  # type: ignore[return-value]


def luminance(red: Floats, green: Floats, blue: Floats) -> Floats:
    """Relative luminance 0.2126 R + 0.7152 G + 0.0722 B of linear light in BT.709 primaries, float32."""
    total = np.multiply(red, WEIGHTS[0])
    part = np.multiply(green, WEIGHTS[1])
    total += part
    np.multiply(blue, WEIGHTS[2], out=part)
    total += part
    return total


def uv(red: Floats, green: Floats, blue: Floats) -> tuple[Floats, Floats]:
    """CIE 1976 u', v' of linear light (BT.709 primaries). Black is given the chromaticity of white (D65)."""
    (x, y, z), white = XYZ, XYZ.sum(axis=1)
    below = x + 15 * y + 3 * z
    divisor = _weighted(below, red, green, blue)
    black = divisor <= 1e-9
    divisor[black] = 1.0
    u = _weighted(4 * x, red, green, blue)
    v = _weighted(9 * y, red, green, blue)
    u /= divisor
    v /= divisor
    u[black] = 4 * white[0] / below.sum()
    v[black] = 9 * white[1] / below.sum()
    return u, v


def eotf(signal: NDArray[np.float64], curve: Curve) -> NDArray[np.float64]:
    """Light (1.0 = reference white) of signals in [0, 1], in double precision; for HLG the scene's, before its OOTF."""
    if curve == "srgb":
        return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    if curve == "bt1886":
        return signal**2.4
    if curve == "pq":
        root = signal ** (1 / PQ_M2)
        return (np.maximum(root - PQ_C1, 0) / (PQ_C2 - PQ_C3 * root)) ** (1 / PQ_M1) * (10000 / REFERENCE)
    if curve == "hlg":
        return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - HLG_C) / HLG_A) + HLG_B) / 12)
    return signal


def _encode(light: Floats, curve: Curve) -> Floats:
    """The inverse of `eotf`, in single precision, clipped to [0, 1]."""
    one: Callable[[float], np.float32] = np.float32
    light = np.maximum(light, one(0))
    if curve == "srgb":
        bent = one(1.055) * light ** one(1 / 2.4) - one(0.055)
        signal = np.where(light <= one(0.04045 / 12.92), light * one(12.92), bent)
    elif curve == "bt1886":
        signal = light ** one(1 / 2.4)
    elif curve == "pq":
        root = (light * one(REFERENCE / 10000)) ** one(PQ_M1)
        signal = ((one(PQ_C1) + one(PQ_C2) * root) / (one(1) + one(PQ_C3) * root)) ** one(PQ_M2)
    elif curve == "hlg":
        bright = one(HLG_A) * np.log(np.maximum(one(12) * light - one(HLG_B), one(1e-6))) + one(HLG_C)
        signal = np.where(light <= one(1 / 12), np.sqrt(one(3) * light), bright)
    else:
        signal = light
    return np.minimum(signal, one(1))


def _luma_range(bits: int, full: bool) -> tuple[float, float]:
    """The code of black, and the codes between black and white."""
    return (0.0, float((1 << bits) - 1)) if full else (float(16 << (bits - 8)), float(219 << (bits - 8)))


def _chroma_range(bits: int, full: bool) -> tuple[float, float]:
    """The code of no colour, and the codes that chroma spans."""
    return float(1 << (bits - 1)), float((1 << bits) - 1 if full else 224 << (bits - 8))


@lru_cache(maxsize=64)
def _code_table(bits: int, full: bool, curve: Curve) -> Floats:
    """Light of every code value."""
    _keep_memory()
    black, span = _luma_range(bits, full)
    return eotf(np.clip((np.arange(1 << bits) - black) / span, 0, 1), curve).astype(np.float32)


@lru_cache(maxsize=8)
def _curve_table(curve: Curve) -> Floats:
    """Light of evenly spaced signals in [0, 1]; HDR is steeper and has a finer table."""
    _keep_memory()
    return eotf(np.linspace(0, 1, 1 << (18 if curve in ("pq", "hlg") else 16)), curve).astype(np.float32)


@lru_cache(maxsize=16)
def _to_xyz(primaries: Primaries) -> NDArray[np.float64]:
    """Linear RGB of these primaries to XYZ, white (1, 1, 1) at luminance 1."""
    columns = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in CHROMATICITIES[primaries]]).T
    x, y = D65
    return np.asarray(columns * np.linalg.solve(columns, np.array([x / y, 1.0, (1 - x - y) / y])))


@lru_cache(maxsize=16)
def _primaries(source: Primaries, target: Primaries) -> NDArray[np.float64]:
    """Linear light in the primaries of `source` to those of `target`."""
    return np.asarray(np.linalg.solve(_to_xyz(target), _to_xyz(source)), dtype=np.float64)


@lru_cache(maxsize=1)
def _keep_memory() -> None:
    """Let go of one large block: from then on glibc keeps blocks of that size instead of returning them to the system.

    Otherwise each of the arrays of a frame is mapped, zeroed and unmapped anew, which takes thrice the time of `light`.
    """
    np.empty(1 << 24, dtype=np.uint8)


def _weighted(row: NDArray[Any], red: Floats, green: Floats, blue: Floats) -> Floats:
    total = np.multiply(red, np.float32(row[0]))
    total += green * np.float32(row[1])
    total += blue * np.float32(row[2])
    return total


def _mixed(matrix: NDArray[np.float64], red: Floats, green: Floats, blue: Floats) -> tuple[Floats, Floats, Floats]:
    return tuple(_weighted(row, red, green, blue) for row in matrix)  # type: ignore[return-value]


def _hlg_shown(red: Floats, green: Floats, blue: Floats, primaries: Primaries) -> tuple[Floats, Floats, Floats]:
    """BT.2100's OOTF: scene light in [0, 1] to light shown, gained by the scene's luminance to the power gamma - 1."""
    gain = _weighted(_to_xyz(primaries)[1], red, green, blue)
    np.maximum(gain, np.float32(1e-12), out=gain)
    np.log(gain, out=gain)  # log and exp rather than power: both are vectorised
    gain *= np.float32(HLG_GAMMA - 1)
    np.exp(gain, out=gain)
    gain *= np.float32(HLG_PEAK / REFERENCE)
    return red * gain, green * gain, blue * gain


def _hlg_scene(red: Floats, green: Floats, blue: Floats, primaries: Primaries) -> tuple[Floats, Floats, Floats]:
    """The inverse of `_hlg_shown`."""
    shown = np.maximum(_weighted(_to_xyz(primaries)[1], red, green, blue), np.float32(1e-12))
    shown *= np.float32(REFERENCE / HLG_PEAK)
    gain = shown ** np.float32(1 / HLG_GAMMA - 1) * np.float32(REFERENCE / HLG_PEAK)
    return red * gain, green * gain, blue * gain


@lru_cache(maxsize=256)
def tagged(
    model: Literal["rgb", "yuv", "gray"],
    bits: int,
    *,
    matrix: int = 2,
    limits: int = 0,
    primaries: int = 2,
    transfer: int = 2,
    lines: int = 1080,
    jpeg: bool = False,
) -> Colour:
    """A `Colour` from the code points of ITU-T H.273 that a stream carries (2: unspecified), saying what was assumed.

    `limits` is 1 for limited and 2 for full range, 0 where untagged; `jpeg` marks pixel formats that are full range by
    their name. `lines` is the coded height: below 720, untagged video is BT.601.
    """
    assumed, notes = [], []
    known: Matrix = "bt601" if model == "yuv" and lines < 720 else "bt709"
    if model == "yuv":
        if matrix in _MATRICES:
            known = _MATRICES[matrix]
        elif matrix == 2:
            known = "bt2020" if primaries == 9 else known
            assumed.append(f"matrix {_title(known)} (for {lines} lines)")
        else:
            notes.append(f"matrix {matrix} of ITU-T H.273 is not supported: read as {_title(known)}")
    full = limits == 2 or (limits != 1 and (jpeg or model != "yuv"))
    gamut: Primaries = _PRIMARIES.get(primaries, "bt709")
    curve: Transfer = _TRANSFERS.get(transfer, "sdr")
    if model != "rgb":  # untagged RGB is sRGB
        if limits not in (1, 2) and not jpeg:
            assumed.append(f"{'full' if full else 'limited'} range")
        if primaries == 2:
            gamut = "bt2020" if known == "bt2020" else "bt709"
            assumed.append(f"primaries {_title(gamut)}")
        if transfer == 2:
            assumed.append("transfer SDR")
    if primaries not in (2, *_PRIMARIES):
        notes.append(f"primaries {primaries} of ITU-T H.273 are not supported: read as BT.709")
    if transfer in (9, 10, 17):
        notes.append(f"transfer {transfer} of ITU-T H.273 is not supported: read as SDR")
    if assumed:
        notes.insert(0, f"untagged, so assumed: {', '.join(assumed)}")
    return Colour(model, bits, full, known, gamut, curve, tuple(notes))


_MATRICES: dict[int, Matrix] = {
    1: "bt709",
    4: "bt601",  # FCC, within 0.001 of it
    5: "bt601",
    6: "bt601",
    7: "bt709",  # SMPTE 240M, within 0.015
    9: "bt2020",
}
_PRIMARIES: dict[int, Primaries] = {
    1: "bt709",
    4: "bt601",
    5: "bt601",
    6: "bt601",
    7: "bt601",
    9: "bt2020",
    11: "p3",
    12: "p3",
    22: "bt601",
}
_TRANSFERS: dict[int, Transfer] = {8: "linear", 16: "pq", 18: "hlg"}


def _title(name: str) -> str:
    return name.upper().replace("BT", "BT.")

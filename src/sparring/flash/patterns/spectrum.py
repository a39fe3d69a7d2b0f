"""A picture's spectrum, demodulated at single frequencies: where a pattern is, and its phase there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from sparring.flash.patterns.tiles import STEP, Floats

Signal = NDArray[np.complex64]


@dataclass(frozen=True)
class _Band:
    """The part of a spectrum that is near one frequency, and what to make of it."""

    index: NDArray[np.int32]  # (rows, columns) into the flat half spectrum, the frequency itself first
    sign: Floats  # (columns,) of the imaginary parts: -1 where the half that is stored is the mirrored one
    weight: Signal
    carrier: tuple[Signal, Signal]  # down and across: what turns the low band into the pattern itself


class Spectrum:
    """Demodulates on the raster of `STEP`."""

    def __init__(self, luminance: Floats) -> None:
        self.size = luminance.shape
        self.rows, self.columns = (-(-size // STEP) for size in self.size)
        # Beyond the border is the mean, wide enough that the far side does not come round.
        down, across = (scipy.fft.next_fast_len(n + max(12, n // 5), True) for n in (self.rows, self.columns))
        self.shape = (down, across)
        self._spectrum = scipy.fft.rfft2(luminance - luminance.mean(), (down * STEP, across * STEP)).ravel()

    def at(self, wave: Floats) -> Signal:
        """The analytic signal of what is near one frequency (cycles per map pixel), (rows, columns)."""
        band = _band(self.shape, float(wave[0]), float(wave[1]), False)
        return self._low(band) * (band.carrier[0][: self.rows, None] * band.carrier[1][: self.columns])

    def wide(self, wave: Floats) -> tuple[Signal, tuple[float, float]]:
        """The same with frequencies from a fourth to twice as high, as a low band, and the step of the carrier's phase
        from one point to the next, down and across."""
        band = _band(self.shape, float(wave[0]), float(wave[1]), True)
        steps = [2 * np.pi * round(f * n * STEP) / n for f, n in zip(wave.tolist(), self.shape, strict=True)]
        return self._low(band), (steps[0], steps[1])

    def _low(self, band: _Band) -> Signal:
        patch = self._spectrum[band.index]
        patch.imag *= band.sign
        patch *= band.weight
        down = scipy.fft.ifft(patch, axis=0, overwrite_x=True)[: self.rows]
        return np.asarray(scipy.fft.ifft(down, axis=1, overwrite_x=True)[:, : self.columns], np.complex64)


@lru_cache(maxsize=64)
def _band(shape: tuple[int, int], down: float, across: float, wide: bool) -> _Band:
    size = [n * STEP for n in shape]
    centre = [round(down * size[0]), round(across * size[1])]
    row, column = (c + np.rint(np.fft.fftfreq(n, 1 / n)).astype(np.int32) for c, n in zip(centre, shape, strict=True))
    # Only columns up to the middle are stored; the others mirror them.
    turned = column % size[1] > size[1] // 2
    index = np.where(turned, -row[:, None], row[:, None]) % size[0] * (size[1] // 2 + 1)
    index += np.where(turned, -column, column) % size[1]
    length = math.hypot(down, across)
    v = (row[:, None] / size[0] - down).astype(np.float32) / length
    u = (column / size[1] - across).astype(np.float32) / length
    off, along = v * np.float32(down) + u * np.float32(across), v * np.float32(across) - u * np.float32(down)
    if wide:
        # Nothing near standing still or twice as fast: what is left turns at the rate of the pattern itself.
        weight = 0.5 + 0.5 * np.cos(np.pi * np.clip((np.abs(off) / min(length, 0.15) - 0.5) / 0.3, 0, 1))
        weight *= np.exp(-0.5 * np.square(along / min(length / 3, 1 / (5 * STEP))))
    else:
        # Across the stripes a narrow band keeps other frequencies out; along them a wide one shows where they end.
        narrow, broad = min(length / 4, 1 / (6 * STEP)), min(length / 2, 1 / (5 * STEP))
        weight = np.exp(-0.5 * (np.square(off / narrow) + np.square(along / broad)))
    # Points lie in the middle of their 4 × 4 pixels, and the carrier is put back: phases of any two looks compare.
    half = [np.exp(1j * np.pi * (STEP - 1) * place / n) for place, n in zip((row, column), size, strict=True)]
    carrier = [
        np.exp(2j * np.pi * c / n * np.arange(n)).astype(np.complex64) for c, n in zip(centre, shape, strict=True)
    ]
    return _Band(
        index,
        np.where(turned, -1, 1).astype(np.float32),
        (weight * (half[0] / STEP**2).astype(np.complex64)[:, None]) * half[1].astype(np.complex64),
        (carrier[0], carrier[1]),
    )

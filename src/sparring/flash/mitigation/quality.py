"""How like two clips are: PSNR of all code values, SSIM of the luma (Wang, Bovik, Sheikh and Simoncelli 2004)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sparring.flash.reading.colour import Colour
from sparring.flash.reading.pictures import Picture

Floats = NDArray[np.float32]

SIGMA, REACH = 1.5, 5  # pixels: the Gaussian window of 11 × 11
K1, K2 = 0.01, 0.03
FINE = 256  # pixels: larger pictures are averaged down to about this side first, as its authors advise

_SRGB = Colour()
_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass
class Quality:
    """Takes pairs of pictures, and has the PSNR in dB and the SSIM of all of them."""

    error: float = 0.0
    values: int = 0
    likeness: float = 0.0
    pictures: int = 0

    def push(self, one: Picture, other: Picture) -> None:
        alike = _kind(one) == _kind(other)
        first, second = (_codes(one), _codes(other)) if alike else (_srgb(one), _srgb(other))
        squares = [float(np.square(a - b).sum(dtype=np.float64)) for a, b in zip(first, second, strict=True)]
        self.error += sum(squares)
        self.values += sum(plane.size for plane in first)
        mixed = not alike or one.colour.model == "rgb"
        self.likeness += ssim(_luma(first, mixed), _luma(second, mixed)) if any(squares) else 1.0
        self.pictures += 1

    @property
    def psnr(self) -> float:
        """In dB; infinite where nothing differs."""
        return 10 * math.log10(self.values / self.error) if self.error else math.inf

    @property
    def ssim(self) -> float:
        """The mean over the pictures, at most 1."""
        return self.likeness / self.pictures if self.pictures else math.nan


def _kind(picture: Picture) -> tuple[object, ...]:
    colour = picture.colour
    return colour.model, colour.bits, colour.full, colour.matrix, picture.shift


def _codes(picture: Picture) -> list[Floats]:
    """Every plane, its codes as shares of the largest."""
    most = np.float32((1 << picture.colour.bits) - 1)
    return [plane.array().astype(np.float32) / most for plane in picture.planes]


def _srgb(picture: Picture) -> list[Floats]:
    """Red, green and blue as sRGB codes, as shares of the largest."""
    width, height = picture.size
    rows, columns = np.arange(height)[:, None], np.arange(width)[None]
    across, down = picture.shift
    codes: list[Any] = [picture.planes[0].array()]
    codes += [plane.array()[rows >> down, columns >> across] for plane in picture.planes[1:]]
    light = picture.colour.light(codes)
    return [channel / np.float32(255) for channel in _SRGB.codes(*light)]


def _luma(planes: list[Floats], mixed: bool) -> Floats:
    if not mixed:
        return planes[0]
    return np.asarray(planes[0] * _WEIGHTS[0] + planes[1] * _WEIGHTS[1] + planes[2] * _WEIGHTS[2])


def ssim(one: Floats, other: Floats) -> float:
    """The mean structural similarity of two pictures (H, W) with values in [0, 1]."""
    block = max(1, round(min(one.shape) / FINE))
    return float(ssim_map(_averaged(one, block), _averaged(other, block)).mean(dtype=np.float64))


def ssim_map(x: Floats, y: Floats) -> Floats:
    """The structural similarity around every point (H, W) of two pictures with values in [0, 1]."""

    def smooth(values: Floats) -> Floats:
        return np.asarray(gaussian_filter(values, SIGMA, radius=REACH, mode="reflect"))

    mean_x, mean_y = smooth(x), smooth(y)
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    both, variances = smooth(x * y) - product, smooth(x * x + y * y) - squares
    c1, c2 = np.float32(K1**2), np.float32(K2**2)
    return np.asarray((2 * product + c1) * (2 * both + c2) / ((squares + c1) * (variances + c2)))


def _averaged(values: Floats, block: int) -> Floats:
    if block == 1:
        return values
    rows, columns = (size // block for size in values.shape)
    cut = values[: rows * block, : columns * block].reshape(rows, block, columns, block)
    return np.asarray(cut.mean(axis=(1, 3)), np.float32)

"""Stills that do no harm: blurred, nearly without colour, and darker than the stripes that any standard counts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import ceil, floor
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from sparring.errors import InputError
from sparring.flash.reading import Source, opened
from sparring.flash.reading.pictures import Picture
from sparring.flash.records import Box

Still: TypeAlias = NDArray[np.uint8]

# sRGB codes that black and white are brought to: relative luminance 0.08 and 0.24. Light stripes count from 0.25 on
# (ITU-R BT.1702-3, Attachment 1, as its readers measure it), so that no still can hold a pattern that counts.
DARKEST, LIGHTEST = 80, 134
COLOURED = 0.12  # how much of the colour is kept
BLUR = 0.018  # radius as a share of the width
OUTLINE = (190, 146, 84)
SAMPLED = 800, 450  # points across and down that a frame is read at
BOXES = 12  # as many as can be told apart


def harmless(pixels: NDArray[np.uint8], room: tuple[int, int]) -> Image.Image:
    """A frame (H, W, 3), sRGB, as large as fits `room` (width, height): dimmed, greyed and blurred."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size or pixels.dtype != np.uint8:
        raise InputError(f"a still has shape {pixels.shape} and type {pixels.dtype}; give (H, W, 3) of uint8")
    size = fitting((pixels.shape[1], pixels.shape[0]), room)
    small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.HAMMING), np.float32)
    grey = small @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    mixed = grey[..., None] + COLOURED * (small - grey[..., None])
    levels = np.clip(DARKEST + (LIGHTEST - DARKEST) / 255 * mixed, DARKEST, LIGHTEST).round().astype(np.uint8)
    return Image.fromarray(levels).filter(ImageFilter.GaussianBlur(max(1.0, BLUR * size[0])))


def outlined(still: Image.Image, boxes: Sequence[Box], size: tuple[int, int]) -> Image.Image:
    """The still with boxes given in pixels of a picture of that size (width, height)."""
    made = still.copy()
    draw = ImageDraw.Draw(made)
    across, down = made.width / max(1, size[0]), made.height / max(1, size[1])
    for left, top, right, bottom in boxes[:BOXES]:
        x = [min(max(0, floor(left * across)), made.width - 1), min(ceil(right * across), made.width) - 1]
        y = [min(max(0, floor(top * down)), made.height - 1), min(ceil(bottom * down), made.height) - 1]
        draw.rectangle([x[0], y[0], max(x), max(y)], outline=OUTLINE, width=2)
    return made


def fitting(size: tuple[int, int], room: tuple[int, int]) -> tuple[int, int]:
    """The largest size of that shape within `room`; every side is at least one pixel."""
    scale = min(room[0] / max(1, size[0]), room[1] / max(1, size[1]))
    return max(1, min(room[0], round(size[0] * scale))), max(1, min(room[1], round(size[1] * scale)))


def frames_at(source: str | os.PathLike[str] | Source, moments: Sequence[float]) -> list[tuple[float, Still]]:
    """The frames on show at those seconds of a clip, each with its own time; reads as far as the last of them.

    A frame is (H, W, 3) sRGB, brought to about twice the size of a still, HDR cut off at reference white; it is the
    clip's own picture, not yet harmless. A loop is read once. Where the clip breaks off before, its last frame serves.
    """
    if not moments:
        return []
    found: list[tuple[float, Still]] = []
    with opened(source) as clip:
        length = clip.duration if clip.loops else None
        waiting = sorted((moment % length if length else moment, moment) for moment in moments)
        last: Picture | None = None
        for picture in clip.pictures():
            while waiting and picture.seconds >= waiting[0][0] - 1e-6:
                found.append((waiting.pop(0)[1], shown(picture)))
            if not waiting:
                break
            last = picture
        if last is not None:
            found += [(moment, shown(last)) for _, moment in waiting]
    return found


def shown(picture: Picture) -> Still:
    """The picture (H, W, 3) in sRGB, its pixels made square, read at no more than `SAMPLED` points across and down."""
    (width, height), (across, down) = picture.size, picture.shift
    wide, high = fitting((max(1, round(width * picture.aspect)), height), SAMPLED)
    rows = ((np.arange(high) + 0.5) * height / high).astype(np.intp)
    columns = ((np.arange(wide) + 0.5) * width / wide).astype(np.intp)
    codes = [
        plane.array()[np.ix_(rows >> down, columns >> across) if number else np.ix_(rows, columns)]
        for number, plane in enumerate(picture.planes)
    ]
    light = np.clip(np.stack(picture.colour.light(codes), axis=-1), 0, 1)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    made: Still = (255 * encoded).round().astype(np.uint8)
    return made

"""Rows of examples as a picture: clean, the change magnified, adversarial, and what the model says of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[Any]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Colour = tuple[int, int, int]

PAPER, INK, FAINT, LINE = (255, 255, 255), (28, 32, 40), (112, 118, 130), (222, 225, 230)
RIGHT, WRONG = (38, 110, 82), (190, 52, 44)
TILE = 132  # the side that images are brought to
NARROWEST = 100
MARGIN, GAP, GUTTER, CAPTION = 44, 18, 56, 46
COLUMNS = 3
FACTORS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
# Pillow's bundled font is small; words from elsewhere must not turn into boxes.
SPELLED = str.maketrans({"×": "x", "∞": "inf", "≤": "<=", "–": "-", "—": "-", "→": "to", "−": "-", "ε": "eps"})


@dataclass(frozen=True)
class Reading:
    """What a model says of an image, how sure it is (in [0, 1]), and whether that is right."""

    label: str
    confidence: float
    right: bool


@dataclass(frozen=True)
class Example:
    """Two images, (H, W), (1, H, W) or (3, H, W), and the model's reading of each."""

    clean: Pixels
    adversarial: Pixels
    before: Reading
    after: Reading


@dataclass(frozen=True)
class Panel:
    """The examples of one model, under a heading."""

    heading: str
    examples: Sequence[Example]


def picture(
    panels: Sequence[Panel],
    title: str,
    caption: str = "",
    bounds: tuple[float, float] = (0.0, 1.0),
    magnify: int | None = None,
) -> Image.Image:
    """Panels side by side, an example a row. `magnify` multiplies the changes; None fits the largest one."""
    changes = [e.adversarial - e.clean for panel in panels for e in panel.examples]
    factor = fitting_factor(changes, bounds) if magnify is None else magnify
    wide, high = _cell(panels[0].examples[0].clean)
    panel_width = COLUMNS * wide + (COLUMNS - 1) * GAP
    top = MARGIN + 44 + (_lines(caption) * 24 + 14 if caption else 0)
    grid = top + 72
    width = max(2 * MARGIN + len(panels) * panel_width + (len(panels) - 1) * GUTTER, _least_width(title, caption))
    height = grid + max(len(panel.examples) for panel in panels) * (high + CAPTION) + MARGIN - GAP
    page = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(page)
    _head(draw, title, caption)
    for number, panel in enumerate(panels):
        left = MARGIN + number * (panel_width + GUTTER)
        _write(draw, (left, top), panel.heading, 19, INK, "la")
        draw.line([(left, top + 32), (left + panel_width, top + 32)], LINE, 1)
        for column, word in enumerate(("clean", f"change x {factor}", "adversarial")):
            _write(draw, (left + column * (wide + GAP) + wide / 2, top + 42), word, 15, FAINT, "ma")
        for row, example in enumerate(panel.examples):
            _row(page, draw, (left, grid + row * (high + CAPTION)), example, factor, bounds)
    return page


@dataclass(frozen=True)
class Row:
    """One image (H, W), (1, H, W) or (3, H, W), and what an attack made of it for each of several models."""

    clean: Pixels
    adversarial: Sequence[Pixels]
    after: Sequence[Reading]


def lineup(
    headings: Sequence[str],
    rows: Sequence[Row],
    title: str,
    caption: str = "",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Image.Image:
    """An example a row: the clean image, then a column for each model with what its adversary found."""
    wide, high = _cell(rows[0].clean)
    wide = max(wide, *(round(_font(15).getlength(heading.translate(SPELLED))) for heading in headings))
    top = MARGIN + 44 + (_lines(caption) * 24 + 14 if caption else 0)
    grid = top + 36
    width = max(2 * MARGIN + (1 + len(headings)) * (wide + GAP) - GAP, _least_width(title, caption))
    page = Image.new("RGB", (width, grid + len(rows) * (high + CAPTION) + MARGIN - GAP), PAPER)
    draw = ImageDraw.Draw(page)
    _head(draw, title, caption)
    for column, heading in enumerate(("clean", *headings)):
        _write(draw, (MARGIN + column * (wide + GAP) + wide / 2, top + 6), heading, 15, FAINT, "ma")
    for number, row in enumerate(rows):
        cells = [(row.clean, None), *zip(row.adversarial, row.after, strict=True)]
        for column, (pixels, reading) in enumerate(cells):
            centre = MARGIN + column * (wide + GAP) + wide / 2
            _tile(
                page, draw, (centre, grid + number * (high + CAPTION)), image(pixels, bounds), reading, adversarial=True
            )
    return page


def fitting_factor(changes: Sequence[Pixels], bounds: tuple[float, float]) -> int:
    """The largest round factor that keeps every change within half the input range, so that no grey saturates."""
    largest = max((float(np.abs(change).max()) for change in changes), default=0.0)
    room = 0.5 * (bounds[1] - bounds[0]) * (1 + 1e-6)
    return max((factor for factor in FACTORS if factor * largest <= room), default=1) if largest else 1


def image(pixels: Pixels, bounds: tuple[float, float] = (0.0, 1.0)) -> Image.Image:
    """Pixels as an image near TILE wide: small ones enlarged by a whole factor, crisp; large ones averaged down."""
    planes = pixels if pixels.ndim == 3 else pixels[None]
    low, high = bounds
    levels = np.clip((planes - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)
    made = Image.fromarray(np.broadcast_to(levels, (3, *levels.shape[1:])).transpose(1, 2, 0).copy())
    size = _size(pixels)
    return made.resize(size, Image.Resampling.NEAREST if size[0] >= made.width else Image.Resampling.BOX)


def _size(pixels: Pixels) -> tuple[int, int]:
    """(width, height) on the page."""
    high, wide = pixels.shape[-2:]
    largest = max(high, wide)
    scale = max(1, round(TILE / largest)) if largest <= 2 * TILE else 2 * TILE / largest
    return max(1, round(wide * scale)), max(1, round(high * scale))


def _cell(pixels: Pixels) -> tuple[int, int]:
    """The room of an image: never narrower than the words below it."""
    wide, high = _size(pixels)
    return max(wide, NARROWEST), high


def _row(
    page: Image.Image,
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    example: Example,
    factor: int,
    bounds: tuple[float, float],
) -> None:
    left, top = corner
    wide, _ = _cell(example.clean)
    grey = (bounds[0] + bounds[1]) / 2
    change = grey + factor * (example.adversarial - example.clean)
    for column, pixels in enumerate((example.clean, change, example.adversarial)):
        where = (left + column * (wide + GAP) + wide / 2, top)
        reading = (example.before, None, example.after)[column]
        _tile(page, draw, where, image(pixels, bounds), reading, adversarial=column == 2)


def _tile(
    page: Image.Image,
    draw: ImageDraw.ImageDraw,
    where: tuple[float, int],
    shown: Image.Image,
    reading: Reading | None,
    adversarial: bool,
) -> None:
    """An image below the middle of its top edge, framed in red where it fools the model, and the reading below."""
    centre, top = where
    x = round(centre - shown.width / 2)
    page.paste(shown, (x, top))
    fooled = adversarial and reading is not None and not reading.right
    for out in (1, 2, 3) if fooled else (1,):
        edge = [x - out, top - out, x + shown.width + out - 1, top + shown.height + out - 1]
        draw.rectangle(edge, outline=WRONG if fooled else LINE)
    if reading:
        words = f"{reading.label} · {_sure(reading.confidence)}"
        _write(draw, (centre, top + shown.height + 9), words, 16, RIGHT if reading.right else WRONG, "ma")


def _head(draw: ImageDraw.ImageDraw, title: str, caption: str) -> None:
    _write(draw, (MARGIN, MARGIN - 6), title, 28, INK, "la")
    for number, line in enumerate(caption.splitlines()):
        _write(draw, (MARGIN, MARGIN + 42 + 24 * number), line, 16, FAINT, "la")


def _sure(confidence: float) -> str:
    """Never 100 % unless it is."""
    return f"{min(confidence, 0.99) if confidence < 1 else 1:.0%}".replace("%", " %")


def _write(
    draw: ImageDraw.ImageDraw, where: tuple[float, float], words: str, size: int, colour: Colour, anchor: str
) -> None:
    draw.text(where, words.translate(SPELLED), fill=colour, font=_font(size), anchor=anchor)


@lru_cache
def _font(size: int) -> Font:
    return ImageFont.load_default(size=size)


def _lines(words: str) -> int:
    return len(words.splitlines())


def _least_width(title: str, caption: str) -> int:
    """Room for the words, also above a single narrow panel."""
    spoken = [(title, 28), *((line, 16) for line in caption.splitlines())]
    return round(2 * MARGIN + max(_font(size).getlength(words.translate(SPELLED)) for words, size in spoken))

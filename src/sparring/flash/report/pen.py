"""Words and colours of the timeline picture: measured before they are written, so that nothing overlaps."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import ceil, floor

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Soft and close together: no pure white or black, and no colour near a saturated red. Blue and ochre are told apart
# under every common colour blindness, and each mark has a shape of its own besides.
PAPER, CARD, INK, FAINT, LINE = (244, 243, 239), (235, 234, 229), (52, 58, 68), (112, 116, 124), (221, 220, 214)
CALM, CALM_TINT, CALM_EDGE = (40, 96, 116), (214, 225, 229), (138, 166, 178)
WARN, WARN_TINT, WARN_FILL = (146, 92, 26), (241, 229, 207), (229, 203, 163)
OPEN, OPEN_TINT = (96, 99, 106), (226, 226, 224)
FINER = 4  # how many times finer round shapes are drawn
# Pillow's bundled font is small; these stand for what it lacks, and _spelt finds the rest.
_SPELT = {"–": "-", "—": "-", "−": "-", "×": "x", "≤": "<=", "≥": ">=", "ß": "ss", "→": "to", "Δ": "d", "′": "'"}


class Pen:
    """Writes on one page."""

    def __init__(self, page: Image.Image) -> None:
        self.page, self.draw = page, ImageDraw.Draw(page)

    def write(
        self, where: tuple[float, float], words: str, size: int, colour: Colour = INK, anchor: str = "la"
    ) -> None:
        """One line; `where` and `anchor` as in Pillow."""
        self.draw.text(where, spelt(words), fill=colour, font=font(size), anchor=anchor)

    def rounded(self, box: tuple[float, float, float, float], radius: float, colour: Colour) -> None:
        """A filled rectangle with round corners; a disc where the radius is half of its side."""
        self._smooth(box, colour, lambda draw, at: draw.rounded_rectangle(at, radius * FINER, fill=255))

    def mark(self, where: tuple[float, float], passed: bool | None, size: float, colour: Colour) -> None:
        """A tick, a cross, or a bar, within a square of that size around `where`."""
        strokes: dict[bool | None, list[list[tuple[float, float]]]] = {
            True: [[(0.05, 0.55), (0.38, 0.85), (0.95, 0.18)]],
            False: [[(0.1, 0.1), (0.9, 0.9)], [(0.1, 0.9), (0.9, 0.1)]],
            None: [[(0.1, 0.5), (0.9, 0.5)]],
        }
        half = size / 2
        box = (where[0] - half, where[1] - half, where[0] + half, where[1] + half)

        def painted(draw: ImageDraw.ImageDraw, at: tuple[float, float, float, float]) -> None:
            left, top, right, bottom = at
            for stroke in strokes[passed]:
                path = [(left + x * (right - left), top + y * (bottom - top)) for x, y in stroke]
                draw.line(path, 255, round(size * FINER / 7), joint="curve")

        self._smooth(box, colour, painted)

    def _smooth(
        self,
        box: tuple[float, float, float, float],
        colour: Colour,
        painted: Callable[[ImageDraw.ImageDraw, tuple[float, float, float, float]], None],
    ) -> None:
        """Paint with soft edges, which Pillow's own shapes lack: finer first, then brought down."""
        left, top = floor(box[0]), floor(box[1])
        size = ceil(box[2]) - left + 1, ceil(box[3]) - top + 1
        mask = Image.new("L", (size[0] * FINER, size[1] * FINER))
        x, y, z, w = ((value - offset) * FINER for value, offset in zip(box, (left, top, left, top), strict=True))
        painted(ImageDraw.Draw(mask), (x, y, z, w))
        self.page.paste(colour, (left, top), mask.resize(size, Image.Resampling.BOX))


def length(words: str, size: int) -> float:
    """How wide a line will be, in pixels."""
    return font(size).getlength(spelt(words))


def elided(words: str, size: int, room: float, middle: bool = False) -> str:
    """Words cut to fit `room`; in the middle for names, whose end tells them apart."""
    if length(words, size) <= room:
        return words
    low, high = 0, len(words)  # the most characters that fit, by bisection
    while low < high:
        kept = (low + high + 1) // 2
        low, high = (kept, high) if length(_cut(words, kept, middle), size) <= room else (low, kept - 1)
    return _cut(words, low, middle)


def wrapped(words: str, size: int, room: float, lines: int) -> list[str]:
    """Words broken into at most so many lines; the last is cut where more would follow."""
    found: list[str] = []
    rest = words.split()
    while rest and len(found) < lines - 1:
        taken = 1
        while taken < len(rest) and length(" ".join(rest[: taken + 1]), size) <= room:
            taken += 1
        found.append(elided(" ".join(rest[:taken]), size, room))
        rest = rest[taken:]
    return [*found, elided(" ".join(rest), size, room)] if rest else found


def flowing(widths: Sequence[float], room: float, gap: float) -> list[tuple[int, float]]:
    """(row, left) of boxes set side by side, a new row where one no longer fits."""
    places: list[tuple[int, float]] = []
    row, left = 0, 0.0
    for width in widths:
        if left and left + width > room:
            row, left = row + 1, 0.0
        places.append((row, left))
        left += width + gap
    return places


@lru_cache
def font(size: int) -> Font:
    """Pillow's bundled font."""
    return ImageFont.load_default(size=size)


@lru_cache(4096)
def spelt(words: str) -> str:
    """Words in letters that the font has: an accent is dropped rather than the letter, the rest is a question mark."""
    return "".join(_letter(letter) for letter in words)


@lru_cache(4096)
def _letter(letter: str) -> str:
    if letter in _SPELT:
        return _SPELT[letter]
    plain = unicodedata.normalize("NFKD", letter)
    for tried in (letter, plain, plain[:1]):
        if tried and all(_has(one) for one in tried):
            return tried
    return "?"


@lru_cache(4096)
def _has(letter: str) -> bool:
    if not letter.isprintable():
        return False
    drawn, missing = (font(20).getmask(one) for one in (letter, "\uffff"))
    return drawn.size != missing.size or bytes(drawn) != bytes(missing)


def _cut(words: str, kept: int, middle: bool) -> str:
    head = kept // 2 if middle else kept
    return f"{words[:head].rstrip()}…{words[len(words) - (kept - head) :] if kept > head else ''}"

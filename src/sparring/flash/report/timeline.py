"""The timeline picture: verdicts, strips over time and dimmed stills of the worst incidents; itself free of hazards."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sparring.files import written
from sparring.flash.records import Analysis, Violation
from sparring.flash.report import strips as over_time
from sparring.flash.report.pen import (
    CALM,
    CALM_TINT,
    CARD,
    FAINT,
    INK,
    LINE,
    OPEN,
    OPEN_TINT,
    PAPER,
    WARN,
    WARN_TINT,
    Pen,
    elided,
    flowing,
    length,
    wrapped,
)
from sparring.flash.report.stills import fitting, harmless, outlined
from sparring.flash.report.wording import DISCLAIMER, extent, rule_of, shape, span, verdict, worst_first
from sparring.flash.standards import Standard
from sparring.report.printable import escaped

Stills = Sequence[tuple[float, NDArray[np.uint8]]]  # seconds, and the frame (H, W, 3) sRGB that is on show then

WIDTH, MARGIN = 1240, 44
ROOM = WIDTH - 2 * MARGIN
CARDS, COLUMNS, GAP = 6, 3, 24
CARD_WIDTH = (ROOM - (COLUMNS - 1) * GAP) // COLUMNS
STILL = (CARD_WIDTH, CARD_WIDTH * 9 // 16)
NEAR = 0.5  # seconds that a still may be away from the incident it is of


@dataclass(frozen=True)
class Card:
    """One incident, under all the standards that see it; `worst` is the one farthest beyond its limit."""

    worst: Violation
    standards: tuple[str, ...]


def timeline(analysis: Analysis, standards: Sequence[Standard], stills: Stills = ()) -> Image.Image:
    """The picture of an analysis, 1240 pixels wide. `stills` are matched to incidents by time: see `moments`."""
    chosen, more = cards(analysis)
    sections = [
        _header(analysis),
        *_strips(analysis, standards, chosen),
        *_cards(analysis, standards, chosen, more, stills),
        _footer(bool(chosen) and bool(stills)),
    ]
    page = Image.new("RGB", (WIDTH, 2 * MARGIN + sum(section.height for section in sections)), PAPER)
    top = MARGIN
    for section in sections:
        page.paste(section, (MARGIN, top))
        top += section.height
    return page


def save(path: str | Path, analysis: Analysis, standards: Sequence[Standard], stills: Stills = ()) -> None:
    """Write the picture as PNG, whole or not at all."""
    sink = io.BytesIO()
    timeline(analysis, standards, stills).save(sink, "PNG", optimize=True)
    written(Path(path), sink.getvalue())


def moments(analysis: Analysis) -> list[float]:
    """The seconds of which `timeline` can show a still: the starts of the incidents that it shows."""
    return sorted({one.worst.start for one in cards(analysis)[0]})


def cards(analysis: Analysis, most: int = CARDS) -> tuple[list[Card], int]:
    """The worst ones in the order of time, those of several standards told once; and how many more there are."""
    found: list[Card] = []
    for violation in worst_first((*analysis.violations, *analysis.advisories)):
        for number, known in enumerate(found):
            if _same(known.worst, violation):
                if violation.standard not in known.standards:
                    found[number] = replace(known, standards=(*known.standards, violation.standard))
                break
        else:
            found.append(Card(violation, (violation.standard,)))
    asked = [replace(one, standards=tuple(sorted(one.standards, key=analysis.standards.index))) for one in found[:most]]
    chosen = sorted(asked, key=lambda one: (one.worst.start, one.worst.rule))
    return chosen, max(0, len(found) - most)


def _same(one: Violation, other: Violation) -> bool:
    """Whether two are the same flashes: one rule by name, and overlapping for at least half of the shorter."""
    shared = min(one.end, other.end) - max(one.start, other.start)
    shorter = min(one.end - one.start, other.end - other.start)
    return (one.rule, one.advisory) == (other.rule, other.advisory) and shared >= max(0.5 * shorter, 0)


def _blank(height: float) -> tuple[Image.Image, Pen]:
    page = Image.new("RGB", (ROOM, max(1, round(height))), PAPER)
    return page, Pen(page)


def _header(analysis: Analysis) -> Image.Image:
    chips = [(verdict(name, one.passed), one.passed) for name, one in analysis.verdicts.items()]
    words = [elided(text, 17, ROOM - 60) for text, _ in chips]
    places = flowing([length(text, 17) + 54 for text in words], ROOM, 12)
    rows = places[-1][0] + 1 if places else 0
    # Why it is only a part goes first, then what was assumed.
    told = [f"Only a part could be analysed: {analysis.partial}"] if analysis.partial else []
    told += analysis.notes
    lines = [line for note in told[:4] for line in wrapped(escaped(note), 15, ROOM, 2)]
    lines += [f"… and {len(told) - 4} more notes"] if len(told) > 4 else []
    page, pen = _blank(76 + 44 * rows + 22 * len(lines) + 26)
    pen.write((0, -4), elided(escaped(PurePath(analysis.source).name), 27, ROOM, middle=True), 27)
    pen.write((0, 38), elided(shape(analysis), 16, ROOM), 16, FAINT)
    for (row, left), text, (_, passed) in zip(places, words, chips, strict=True):
        _chip(pen, (left, 76 + 44 * row), text, passed)
    for number, line in enumerate(lines):
        pen.write((0, 76 + 44 * rows + 6 + 22 * number), line, 15, INK if analysis.partial and not number else FAINT)
    return page


def _chip(pen: Pen, corner: tuple[float, float], text: str, passed: bool | None) -> None:
    ink, tint = {True: (CALM, CALM_TINT), False: (WARN, WARN_TINT), None: (OPEN, OPEN_TINT)}[passed]
    x, y = corner
    pen.rounded((x, y, x + length(text, 17) + 54, y + 34), 8, tint)
    pen.mark((x + 22, y + 17), passed, 13, ink)
    pen.write((x + 40, y + 17), text, 17, INK, "lm")


def _strips(analysis: Analysis, standards: Sequence[Standard], chosen: Sequence[Card]) -> Iterable[Image.Image]:
    found = over_time.strips(analysis, standards)
    seconds = analysis.series.seconds
    if not len(seconds):
        page, pen = _blank(40)
        pen.write((0, 8), "No frame could be analysed.", 17, FAINT)
        yield page
        return
    time = over_time.axis(analysis, ROOM)
    moving = [strip for strip in found if not strip.quiet]
    if moving:
        yield _heading("Transitions within the last second, and the area that has too many of them", time, chosen)
    for strip in moving:
        yield over_time.drawn(strip, seconds, time, ROOM)
        yield _blank(18)[0]
    if moving:
        yield over_time.ruler(time, ROOM)
    quiet: dict[str, list[str]] = {}
    for strip in found:
        if strip.quiet:
            quiet.setdefault(strip.rule, []).extend(strip.standards)
    if quiet:
        told = "; ".join(f"{rule} ({', '.join(names)})" for rule, names in quiet.items())
        lines = wrapped(f"Nothing to count: {told}.", 15, ROOM, 4)
        page, pen = _blank(14 + 22 * len(lines) + 16)
        for number, line in enumerate(lines):
            pen.write((0, 12 + 22 * number), line, 15, FAINT)
        yield page


def _heading(words: str, time: over_time.Axis, chosen: Sequence[Card]) -> Image.Image:
    """The title of the strips; below it the numbers of the incidents shown, above where they begin."""
    page, pen = _blank(64 if chosen else 40)
    pen.draw.line([(0, 0), (ROOM, 0)], LINE, 1)
    pen.write((0, 12), elided(words, 15, ROOM), 15, FAINT)
    room, places = 22, [time.x(one.worst.start) for one in chosen]
    for number in range(1, len(places)):  # pushed apart to the right, then back from the edge
        places[number] = max(places[number], places[number - 1] + room)
    edge = float(time.left + time.width)
    for number in reversed(range(len(places))):
        places[number] = min(places[number], edge)
        edge = places[number] - room
    for number, x in enumerate(places):
        _number(pen, (x, 50), number + 1)
    return page


def _number(pen: Pen, centre: tuple[float, float], number: int) -> None:
    x, y = centre
    pen.rounded((x - 10.5, y - 10.5, x + 10.5, y + 10.5), 10.5, WARN)
    pen.write((x, y), str(number), 13, PAPER, "mm")


def _cards(
    analysis: Analysis, standards: Sequence[Standard], chosen: Sequence[Card], more: int, stills: Stills
) -> Iterable[Image.Image]:
    if not chosen:
        return
    page, pen = _blank(48)
    pen.draw.line([(0, 8), (ROOM, 8)], LINE, 1)
    total = len(chosen) + more
    which = f"The {len(chosen)} of {total} incidents that go farthest beyond their limits" if more else "Incidents"
    pen.write((0, 20), which, 15, FAINT)
    yield page
    for first in range(0, len(chosen), COLUMNS):
        page, pen = _blank(STILL[1] + 150)
        for column, one in enumerate(chosen[first : first + COLUMNS]):
            _card(page, pen, column * (CARD_WIDTH + GAP), first + column + 1, one, analysis, standards, stills)
        yield page


def _card(
    page: Image.Image,
    pen: Pen,
    left: int,
    number: int,
    one: Card,
    analysis: Analysis,
    standards: Sequence[Standard],
    stills: Stills,
) -> None:
    worst, (wide, high) = one.worst, STILL
    pen.draw.rectangle([left, 0, left + wide - 1, high - 1], fill=CARD)
    near = min(stills, key=lambda still: abs(still[0] - worst.start), default=None)
    if near is not None and abs(near[0] - worst.start) <= NEAR:
        ground = harmless(near[1], STILL)
    else:
        ground = Image.new("RGB", fitting(analysis.size, STILL), OPEN_TINT)
    framed = outlined(ground, worst.boxes, analysis.size)
    page.paste(framed, (left + (wide - framed.width) // 2, (high - framed.height) // 2))
    _number(pen, (left + 10, high + 24), number)
    advisory = " · advisory" if worst.advisory else ""
    pen.write((left + 28, high + 24), elided(span(worst.start, worst.end) + advisory, 17, wide - 28), 17, INK, "lm")
    lines = [
        (elided(extent(worst, rule_of(standards, worst)), 14, wide), INK),
        *((line, INK) for line in wrapped(f"{worst.rule}: {', '.join(one.standards)}", 14, wide, 2)),
        *((line, FAINT) for line in wrapped(worst.clause, 13, wide, 2)),
    ]
    for row, (line, colour) in enumerate(lines):
        pen.write((left, high + 42 + 19 * row), line, 14 if colour == INK else 13, colour)


def _footer(stills: bool) -> Image.Image:
    page, pen = _blank(44)
    pen.draw.line([(0, 6), (ROOM, 6)], LINE, 1)
    about = "Stills are dimmed, blurred and greyed on purpose. " if stills else ""
    pen.write((0, 20), elided(about + DISCLAIMER, 14, ROOM), 14, FAINT)
    return page

"""The series of an analysis as strips over time: transitions in the last second, the area, limits and incidents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sparring.flash.records import Analysis, Violation
from sparring.flash.report.pen import (
    CALM_EDGE,
    CALM_TINT,
    CARD,
    FAINT,
    INK,
    LINE,
    PAPER,
    WARN,
    WARN_FILL,
    WARN_TINT,
    Pen,
    elided,
    wrapped,
)
from sparring.flash.report.wording import clock, share, surface
from sparring.flash.standards import Flash, Pattern, Rule, Standard

LABELS, LIMITS = 232, 108  # pixels left and right of the plot
COUNTS, AREAS, BETWEEN = 54, 26, 8  # heights
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
TICKS = 10


@dataclass(frozen=True)
class Axis:
    """Time from left to right: `start` to `end` seconds over `width` pixels from `left` on."""

    start: float
    end: float
    left: int
    width: int

    def x(self, seconds: float) -> float:
        inside = min(max(seconds, self.start), self.end)
        return self.left + self.width * (inside - self.start) / (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Where lines go, and their labels."""
        length = self.end - self.start
        step = next((step for step in STEPS if length / step <= TICKS), length / TICKS)
        first, last = int(np.ceil(self.start / step - 1e-9)), int(np.floor(self.end / step + 1e-9))
        times = [number * step for number in range(first, last + 1)]
        fine = 2 if step < 0.1 else 1 if step < 1 else 0
        return [(self.x(time), f"{time:.{fine}f} s" if self.end < 60 else clock(time, fine)) for time in times]


@dataclass(frozen=True)
class Strip:
    """One rule over time; standards whose numbers are the same share a strip."""

    rule: str
    standards: tuple[str, ...]
    count: NDArray[np.int16]
    area: NDArray[np.float32]
    allowed: int
    limit: float
    lasting: float  # seconds that it may last; only incidents are beyond that
    surface: str  # what the area is a share of
    incidents: tuple[Violation, ...]

    @property
    def quiet(self) -> bool:
        return not self.count.any() and not self.area.any() and not self.incidents

    def same(self, other: Strip) -> bool:
        """Whether one drawing serves both."""
        mine, theirs = (
            (s.rule, s.allowed, s.limit, s.lasting, s.surface, [(v.start, v.end, v.advisory) for v in s.incidents])
            for s in (self, other)
        )
        return mine == theirs and np.array_equal(self.count, other.count) and np.array_equal(self.area, other.area)


def strips(analysis: Analysis, standards: Sequence[Standard]) -> list[Strip]:
    """A strip per "standard: rule" of the series, in its order."""
    found: list[Strip] = []
    known = {one.name: one for one in standards}
    for key, count in analysis.series.count.items():
        standard, _, name = key.partition(": ")
        rules = known[standard].rules if standard in known else ()
        rule = next((rule for rule in rules if rule.name == name), None)
        told = (*analysis.violations, *analysis.advisories)
        incidents = tuple(v for v in told if (v.standard, v.rule) == (standard, name))
        area = analysis.series.area[key]
        new = Strip(name, (standard,), count, area, *_limits(rule), surface(rule), incidents)
        twin = next((number for number, other in enumerate(found) if new.same(other)), None)
        if twin is None:
            found.append(new)
        else:
            found[twin] = replace(found[twin], standards=(*found[twin].standards, standard))
    return found


def axis(analysis: Analysis, width: int) -> Axis:
    """From the first frame to the end of the last one."""
    times = analysis.series.seconds
    start, last = (float(times[0]), float(times[-1])) if len(times) else (0.0, analysis.seconds)
    frame = 1 / analysis.rate if analysis.rate else 0.04
    return Axis(start, max(last + frame, start + 1e-3), LABELS, width - LABELS - LIMITS)


def drawn(strip: Strip, seconds: NDArray[np.float64], time: Axis, width: int) -> Image.Image:
    """One strip. Without an area beyond its limits anywhere, there is nothing to plot of it."""
    covered = bool(strip.area.any())
    height = COUNTS + (BETWEEN + AREAS if covered else 0)
    page = Image.new("RGB", (width, height), PAPER)
    pen = Pen(page)
    right = time.left + time.width
    pen.draw.rectangle([time.left, 0, right, COUNTS - 1], fill=CARD)
    if covered:
        pen.draw.rectangle([time.left, height - AREAS, right, height - 1], fill=CARD)
    for one in strip.incidents:
        ends = _apart(time.x(one.start), time.x(one.end), 3, time)
        for top, bottom in ((0, COUNTS - 1), (height - AREAS, height - 1))[: 1 + covered]:
            pen.draw.rectangle([ends[0], top, ends[1], bottom], fill=WARN_TINT)
    for x, _ in time.ticks():
        pen.draw.line([(x, 0), (x, height)], LINE, 1)
    top_count = max(1.8 * strip.allowed, 1.1 * float(strip.count.max(initial=0)))
    counts = held(strip.count, seconds, time)
    _steps(pen, counts, _beyond(counts, strip, strip.allowed, time), (0, COUNTS), top_count, time)
    _limit(pen, COUNTS * (1 - strip.allowed / top_count), f"{strip.allowed} allowed", time)
    pen.write((right + 10, -2), elided(f"peak {int(strip.count.max(initial=0))}", 13, LIMITS - 12), 13, INK)
    if covered:
        top_area = max(2 * strip.limit, float(strip.area.max()))
        areas = held(strip.area, seconds, time)
        _steps(pen, areas, _beyond(areas, strip, strip.limit, time), (height - AREAS, height), top_area, time)
        _limit(pen, height - AREAS * strip.limit / top_area, f"{share(strip.limit)} of {strip.surface}", time)
    for one in strip.incidents:
        ends = _apart(time.x(one.start), time.x(one.end), 4, time)
        pen.draw.rectangle([ends[0], 0, ends[1], 5], outline=WARN, fill=None if one.advisory else WARN)
    _labels(pen, strip)
    return page


def held(values: NDArray[np.generic], seconds: NDArray[np.float64], time: Axis) -> NDArray[np.float64]:
    """(width,): for every pixel column the largest value of the frames that are on show in it."""
    columns = np.zeros(time.width)
    scale = time.width / (time.end - time.start)
    first = np.clip(np.floor((seconds - time.start) * scale).astype(int), 0, time.width - 1)
    np.maximum.at(columns, first, values.astype(float))
    # A frame lasts until the next one: a column in which none begins goes on with the last one begun before it.
    begun = np.full(time.width, -1)
    np.maximum.at(begun, first, np.arange(len(seconds)))
    begun = np.maximum.accumulate(begun)
    empty = np.ones(time.width, bool)
    empty[first] = False
    filled = empty & (begun >= 0)
    columns[filled] = values.astype(float)[begun[filled]]
    return columns


def ruler(time: Axis, width: int) -> Image.Image:
    """The times below the strips."""
    page = Image.new("RGB", (width, 24), PAPER)
    pen = Pen(page)
    for x, label in time.ticks():
        pen.write((x, 4), label, 14, FAINT, "ma")
    return page


def _limits(rule: Rule | None) -> tuple[int, float, float]:
    """What is allowed: how many, how large a share, and for how long."""
    match rule:
        case Flash():
            return rule.transitions, rule.area.share, rule.lasting
        case Pattern():
            return rule.pairs, min(rule.stationary, rule.changing), 0.0
        case _:
            return 6, 0.25, 0.0


def _beyond(values: NDArray[np.float64], strip: Strip, limit: float, time: Axis) -> NDArray[np.bool_]:
    """The columns beyond a limit; where a rule waits some seconds, only those of its incidents."""
    beyond = np.asarray(values > limit)
    if strip.lasting:
        inside = np.zeros_like(beyond)
        for one in strip.incidents:
            inside[round(time.x(one.start)) - time.left : round(time.x(one.end)) - time.left + 1] = True
        beyond &= inside
    return beyond


def _steps(
    pen: Pen,
    values: NDArray[np.float64],
    beyond: NDArray[np.bool_],
    between: tuple[int, int],
    most: float,
    time: Axis,
) -> None:
    """A filled outline, warmer where it is beyond its limit."""
    top, bottom = between
    heights = np.minimum(np.round(bottom - np.minimum(values / most, 1) * (bottom - top - 1)), bottom - 1).tolist()
    for column in np.flatnonzero(values > 0).tolist():
        x = time.left + column
        pen.draw.line([(x, heights[column]), (x, bottom - 1)], WARN_FILL if beyond[column] else CALM_TINT)
    if values.any():
        pen.draw.line([(time.left + column, y) for column, y in enumerate(heights)], CALM_EDGE, 1)


def _limit(pen: Pen, y: float, label: str, time: Axis) -> None:
    right = time.left + time.width
    pen.draw.line([(time.left, y), (right + 4, y)], FAINT, 1)
    pen.write((right + 10, y), elided(label, 13, LIMITS - 12), 13, FAINT, "lm")


def _labels(pen: Pen, strip: Strip) -> None:
    room = LABELS - 20
    advised = strip.incidents and all(one.advisory for one in strip.incidents)
    pen.write((0, -2), elided(strip.rule + (" (advisory)" if advised else ""), 17, room), 17, INK)
    after = f"after {strip.lasting:g} s · " if strip.lasting else ""
    for number, line in enumerate(wrapped(after + ", ".join(strip.standards), 13, room, 2)):
        pen.write((0, 22 + 16 * number), line, 13, FAINT)


def _apart(left: float, right: float, least: int, time: Axis) -> tuple[int, int]:
    """A span of at least so many pixels, within the plot."""
    x = min(round(left), time.left + time.width - least)
    return x, max(round(right), x + least - 1)

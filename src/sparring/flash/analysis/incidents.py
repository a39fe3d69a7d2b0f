"""Incidents: stretches of time in which one rule is broken, and where on the picture."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sparring.flash.analysis.counting import Level
from sparring.flash.analysis.sampling import Grid
from sparring.flash.analysis.transitions import TICK
from sparring.flash.patterns.following import Look
from sparring.flash.records import Box, Violation
from sparring.flash.standards import Flash, Pattern, Rule, Standard

_BOXES = 8  # more places than this are told as one
_COARSE = 90  # rows of the map that boxes are read from, so that points of one place hang together


@dataclass
class Incident:
    """One that may still go on."""

    start: float
    end: float
    area: float
    count: int
    mask: NDArray[np.bool_] | None  # which points; None once it is over, and `boxes` are known
    boxes: tuple[Box, ...] = ()

    def settle(self, grid: Grid) -> None:
        """Keep only the boxes of the points: a long stream has many incidents."""
        if self.mask is not None:
            self.boxes, self.mask = boxes(self.mask, grid), None


class _Watched:
    """One rule of one standard."""

    def __init__(self, standard: Standard, rule: Rule) -> None:
        self.standard = standard
        self.key = f"{standard.name}: {rule.name}"
        self.open = self.broken = False  # at the last look; at any
        self.now = (0, 0.0, 1.0)  # count (of pairs, for a pattern), area and margin at the last look


class Watch(_Watched):
    """Joins what one rule says at each moment into incidents."""

    def __init__(self, standard: Standard, rule: Flash, grid: Grid) -> None:
        super().__init__(standard, rule)
        self.rule, self.grid = rule, grid
        self.found: list[Incident] = []

    def push(self, seconds: float, level: Level, counted: bool) -> None:
        allowed = self.rule.transitions
        few = level.count <= allowed
        margin = 1 - level.count / (allowed + 1) if few else 1 - level.area / self.rule.area.share
        self.now = level.count, level.area, margin
        if not len(level.points):
            self.open = False
            return
        if not self.open and not (self.found and level.since <= self.found[-1].end + TICK):
            if self.found:
                self.found[-1].settle(self.grid)
            self.found.append(Incident(level.since, seconds, 0.0, 0, np.zeros(len(self.grid), bool)))
        self.open = True
        now = self.found[-1]
        if counted and now.mask is not None:
            now.end = seconds
            now.mask[level.points] = True
        now.area = max(now.area, level.area)
        now.count = max(now.count, level.count)
        self.broken = self.broken or self._long(now)

    @property
    def violated(self) -> list[Incident]:
        """Those that lasted longer than the rule allows."""
        return [one for one in self.found if self._long(one)]

    def _long(self, one: Incident) -> bool:
        return not self.rule.lasting or one.end - one.start > self.rule.lasting + TICK

    def violations(self) -> list[Violation]:
        limit = self.rule.area.share
        return [
            Violation(
                standard=self.standard.name,
                rule=self.rule.name,
                start=round(one.start, 6),
                end=round(one.end, 6),
                area=min(one.area, 1.0),
                count=one.count,
                margin=1 - one.area / limit,
                boxes=one.boxes if one.mask is None else boxes(one.mask, self.grid),
                clause=self.rule.clause,
                advisory=self.rule.advisory,
            )
            for one in self.violated
        ]


class PatternWatch(_Watched):
    """Joins what one rule says of patterns at each look into incidents."""

    def __init__(self, standard: Standard, rule: Pattern, size: tuple[int, int]) -> None:
        super().__init__(standard, rule)
        self.rule, self.size = rule, size
        self.found: list[Violation] = []

    def push(self, seconds: float, look: Look, cells: tuple[int, int]) -> None:
        """`cells`: rows and columns of the map that was looked at."""
        margin = 1 - look.area / look.limit
        self.now = look.pairs, look.area, margin if look.hazardous else max(0.0, margin)
        if look.hazardous and look.since is not None:
            high, wide = self.size[1] / cells[0], self.size[0] / cells[1]
            places = tuple(
                (int(box[0] * wide), int(box[1] * high), int(-(-box[2] * wide // 1)), int(-(-box[3] * high // 1)))
                for box in look.boxes
            )
            seen = Violation(
                standard=self.standard.name,
                rule=self.rule.name,
                start=look.since,
                end=seconds,
                area=look.area,
                count=look.pairs,
                margin=margin,
                boxes=places,
                clause=self.rule.clause,
                advisory=self.rule.advisory,
            )
            if self.open:
                worst = min(self.found.pop(), seen, key=lambda one: one.margin)
                seen = replace(worst, start=min(worst.start, seen.start), end=seconds)
            self.found.append(seen)
            self.broken = True
        self.open = look.hazardous

    def violations(self) -> list[Violation]:
        return self.found


def boxes(mask: NDArray[np.bool_], grid: Grid) -> tuple[Box, ...]:
    """Rectangles of pixels around the places that the marked points make up, the largest first."""
    rows, columns = grid.shape
    step = max(1, rows // _COARSE)
    marked = mask.reshape(grid.shape)
    height, width = -(-rows // step), -(-columns // step)
    padded = np.zeros((height * step, width * step), bool)
    padded[:rows, :columns] = marked
    coarse = padded.reshape(height, step, width, step).any((1, 3))
    joined = ndimage.binary_closing(np.pad(coarse, 2), np.ones((3, 3), bool))[2:-2, 2:-2] | coarse
    places, count = ndimage.label(joined)
    slices = ndimage.find_objects(places)
    if count > _BOXES:
        slices = [(slice(0, height), slice(0, width))]
    found = []
    for down, right in slices:
        inside = marked[down.start * step : down.stop * step, right.start * step : right.stop * step]
        marks = np.argwhere(inside)
        (top, left), (bottom, end) = marks.min(0), marks.max(0) + 1
        top, bottom = top + down.start * step, bottom + down.start * step
        left, end = left + right.start * step, end + right.start * step
        wide, high = grid.size
        found.append((left * wide // columns, top * high // rows, -(-end * wide // columns), -(-bottom * high // rows)))
    found.sort(key=lambda box: (box[0] - box[2]) * (box[3] - box[1]))
    return tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in found)

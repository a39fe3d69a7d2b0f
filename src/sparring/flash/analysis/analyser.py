"""The streaming analysis: push pictures one after another, ask at any time, finish.

Constant memory: a second of transitions and two or three pictures. Standards that share a definition share the work:
detectors are built per definition of a change, gates per area, counters per gate.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from sparring.errors import InputError
from sparring.flash.analysis.areas import Extent
from sparring.flash.analysis.counting import Counter, Gate, Tally
from sparring.flash.analysis.incidents import PatternWatch, Watch
from sparring.flash.analysis.sampling import POINTS, Grid, Taker, grid
from sparring.flash.analysis.transitions import NONE, Detector, Points, detector, lights
from sparring.flash.patterns.following import Patterns
from sparring.flash.patterns.maps import luminance_map, single_points
from sparring.flash.reading import Picture, picture_of
from sparring.flash.reading.colour import Codes, Sdr
from sparring.flash.records import Analysis, Series, Verdict, Violation
from sparring.flash.standards import Area, Luminance, Red, Standard, named

T = TypeVar("T")

_BLACK = 0.002  # of reference white: bars around a picture are darker


@dataclass(frozen=True)
class Moment:
    """What is known after one picture. A margin below 0 means that the rule is not met at this moment."""

    seconds: float
    passed: bool  # no violation so far
    margins: dict[str, float]  # "standard: rule" -> signed margin


@dataclass(frozen=True)
class Definition:
    """What counts as a transition."""

    change: Luminance | Red
    ramp: float | None
    sync: float
    sdr: Sdr


@dataclass(frozen=True)
class Sensor:
    """A definition, and what finds it among some of the points."""

    sdr: Sdr
    detector: Detector


Sides: TypeAlias = tuple[Points, Points]
"""Points that rise (or turn red), and points that fall (or leave red)."""


Counted: TypeAlias = tuple[int, int, float, tuple[float, float] | None]
"""What rules that share a counter have in common: definition and area, by number, window and gap."""


class Patch:
    """Some of the points, and what is remembered of them."""

    def __init__(self, part: slice, points: Grid, sensors: list[Sensor]) -> None:
        self.start = part.start
        self.taker = Taker(points.rows[part], points.columns[part])
        self.sensors = sensors
        self.codes: list[Codes] = []
        self.luminance: NDArray[np.float32]
        self.brightest: NDArray[np.float32] | None = None

    def push(self, picture: Picture) -> list[Sides]:
        """The transitions of these points, for each sensor, as indices into the whole grid; none where all is still."""
        codes = self.taker.codes(picture)
        before, self.codes = self.codes, codes
        if before and all(np.array_equal(one, other) for one, other in zip(before, codes, strict=True)):
            for sensor in self.sensors:
                sensor.detector.still(picture.seconds)
            return []
        light = lights(picture.colour, codes, (sensor.sdr for sensor in self.sensors))
        self.luminance = next(iter(light.values())).luminance
        if self.brightest is None:
            self.brightest = self.luminance.copy()
        np.maximum(self.brightest, self.luminance, out=self.brightest)
        found = []
        for sensor in self.sensors:
            up, down = sensor.detector.find(light[sensor.sdr], picture.seconds)
            sensor.detector.keep(light[sensor.sdr], picture.seconds, up, down)
            found.append((up + self.start, down + self.start))
        return found


@dataclass
class _Row:
    """The columns of one rule's series."""

    count: array[int] = field(default_factory=lambda: array("h"))
    area: array[float] = field(default_factory=lambda: array("f"))
    margin: array[float] = field(default_factory=lambda: array("f"))


class Analyser:
    """Pictures in, verdicts out, for live sources as for files.

    `standard`: a name, a `Standard`, or several. `points` are looked at in each picture, one in each cell of a grid
    (57,600: shares of area are then good to a hundredth of the screen or better); None looks at every pixel. Smaller
    pictures are looked at whole. `slacks` scale the limits of area; verdicts follow the first. `series=False` keeps
    no row per frame, for sources that never end.
    """

    def __init__(
        self,
        standard: str | Standard | Iterable[str | Standard] = "wcag2.2",
        *,
        points: int | None = POINTS,
        slacks: tuple[float, ...] = (1.0,),
        series: bool = True,
    ) -> None:
        self.standards = named(standard)
        self.points, self.slacks, self.series = points, slacks, series
        self.frames = 0
        self.first = self.last = float("nan")
        self.grid: Grid | None = None
        self.patches: list[Patch] = []
        # By number, for hashing definitions takes longer than finding them: gates by (definition, area), counters by
        # (definition, area, window, gap), and with each counter the rules that read it, once for each slack.
        self.gates: dict[tuple[int, int], Gate] = {}
        self.counters: dict[Counted, list[Counter]] = {}
        self.rules: list[tuple[Counted, list[Watch]]] = []
        self.shapes: list[PatternWatch] = []
        self.patterns: Patterns | None = None
        self.times = array("d")
        self.rows: dict[str, _Row] = defaultdict(_Row)
        self.margins: dict[str, float] = {}

    def push(self, frame: Picture | NDArray[np.uint8], seconds: float | None = None) -> Moment:
        """Take the next picture: an array (H, W, 3) or (H, W) of uint8 in sRGB with its time, or a `Picture`."""
        picture = frame if isinstance(frame, Picture) else picture_of(frame, seconds)
        if self.grid is None:
            self._begin(picture)
        assert self.grid is not None
        if picture.size != self.grid.size:
            raise InputError(
                f"frame {self.frames} is {picture.size[0]} × {picture.size[1]} pixels, those before it "
                f"{self.grid.size[0]} × {self.grid.size[1]}; analyse pictures of one size, or begin a new Analyser"
            )
        if self.frames and not picture.seconds > self.last:
            raise InputError(
                f"frame {self.frames} is shown at {picture.seconds:.6f} s, not after the one before it at "
                f"{self.last:.6f} s; push frames in the order in which they are shown"
            )
        found = [sides for patch in self.patches if (sides := patch.push(picture))]
        self._count([_joined(sides) for sides in zip(*found, strict=True)], picture.seconds)
        self._compare(picture)
        self.frames += 1
        self.last = picture.seconds
        return Moment(
            picture.seconds,
            not any(watch.broken and not watch.rule.advisory for watch in self._watches),
            dict(self.margins),
        )

    def finish(
        self, source: str = "stream", partial: str | None = None, notes: tuple[str, ...] = (), lasts: float = 0.0
    ) -> Analysis:
        """The result so far; `lasts` is how long the last picture is shown. Raises InputError where there was none."""
        if self.grid is None:
            raise InputError("no frame was pushed; an analysis needs at least one")
        found = [violation for watch in self._watches for violation in watch.violations()]
        return concluded(
            self.standards,
            found,
            Series(
                np.array(self.times),
                {key: np.array(row.count, np.int16) for key, row in self.rows.items()},
                {key: np.array(row.area, np.float32) for key, row in self.rows.items()},
                {key: np.array(row.margin, np.float32) for key, row in self.rows.items()},
            ),
            source=source,
            frames=self.frames,
            seconds=self.last - self.first + lasts,
            size=self.grid.size,
            partial=partial,
            notes=(*notes, *self._bars()),
        )

    @property
    def _watches(self) -> list[Watch | PatternWatch]:
        """Those that verdicts follow."""
        return [*(watches[0] for _, watches in self.rules), *self.shapes]

    def _begin(self, picture: Picture) -> None:
        self.first = picture.seconds
        self.grid = points = grid(picture.size, self.points)
        if points.exact:  # nothing is estimated
            self.slacks = (1.0,)
        definitions: list[Definition] = []
        areas: list[Area] = []
        for standard in self.standards:
            for rule in standard.flashes:
                seen = _number(Definition(rule.change, standard.ramp, standard.sync, standard.sdr), definitions)
                gate = seen, _number(rule.area, areas)
                if gate not in self.gates:
                    extent = Extent(rule.area, points, picture.aspect)
                    self.gates[gate] = Gate(extent, standard.sync, self.slacks, len(points))
                counter = (*gate, rule.window, rule.gap)
                if counter not in self.counters:
                    self.counters[counter] = [
                        Counter(self.gates[gate].extent, slack, Tally(len(points), rule.window, rule.gap))
                        for slack in self.slacks
                    ]
                self.rules.append((counter, [Watch(standard, rule, points) for _ in self.slacks]))
            self.shapes += [PatternWatch(standard, rule, picture.size) for rule in standard.patterns]
        self.patterns = Patterns([watch.rule for watch in self.shapes]) if self.shapes else None
        for part in points.patches():
            sensors = [Sensor(one.sdr, detector(one.change, one.ramp, picture.colour.hdr)) for one in definitions]
            self.patches.append(Patch(part, points, sensors))

    def _count(self, found: list[Sides], seconds: float) -> None:
        passed = {
            key: gate.push(seconds, *(found[key[0]] if found else (NONE, NONE))) for key, gate in self.gates.items()
        }
        counted = {
            key: [counter.push(seconds, *sides) for counter, sides in zip(counters, passed[key[:2]], strict=True)]
            for key, counters in self.counters.items()
        }
        if self.series:
            self.times.append(seconds)
        for key, watches in self.rules:
            for track, watch in enumerate(watches):
                level = self.counters[key][track].level(watch.rule.transitions)
                watch.push(seconds, level, counted[key][track])
            self._note(watches[0])

    def _compare(self, picture: Picture) -> None:
        """Regular patterns: shapes are looked for on a small map, a few times a second while there are none."""
        if self.patterns is None:
            return
        points = np.concatenate([patch.luminance[:: len(self.patches)] for patch in self.patches])
        if self.patterns.due(picture.seconds, points):
            seen = luminance_map(picture)
            looks = self.patterns.push(seen, picture.seconds, lambda: single_points(picture))
            for watch, look in zip(self.shapes, looks, strict=True):
                watch.push(picture.seconds, look, seen.shape)
        for watch in self.shapes:
            self._note(watch)

    def _note(self, watch: Watch | PatternWatch) -> None:
        count, area, self.margins[watch.key] = watch.now
        if self.series:
            row = self.rows[watch.key]
            row.count.append(count)
            row.area.append(area)
            row.margin.append(self.margins[watch.key])

    def _bars(self) -> tuple[str, ...]:
        """A note where the picture never leaves black at its edges: areas are shares of all that is displayed."""
        assert self.grid is not None
        if any(patch.brightest is None for patch in self.patches):
            return ()
        lit = np.concatenate([patch.brightest for patch in self.patches]).reshape(self.grid.shape) > _BLACK
        rows, columns = np.flatnonzero(lit.any(1)), np.flatnonzero(lit.any(0))
        if not len(rows):
            return ()
        inside = (rows[-1] - rows[0] + 1) / lit.shape[0] * (columns[-1] - columns[0] + 1) / lit.shape[1]
        if inside > 0.97:
            return ()
        return (
            f"Black bars: the picture fills {inside:.0%} of the display. Areas are shares of all that is displayed.",
        )


def concluded(
    standards: tuple[Standard, ...],
    found: Iterable[Violation],
    series: Series,
    *,
    source: str,
    frames: int,
    seconds: float,
    size: tuple[int, int],
    partial: str | None,
    notes: tuple[str, ...],
) -> Analysis:
    """The verdicts that follow from what was found."""
    found = sorted(found, key=lambda one: (one.start, one.standard, one.rule))
    verdicts = {}
    for standard in standards:
        own = [one for one in found if one.standard == standard.name]
        violations = tuple(one for one in own if not one.advisory)
        verdicts[standard.name] = Verdict(
            standard.name,
            None if partial else not violations,
            violations,
            tuple(one for one in own if one.advisory),
        )
    return Analysis(
        source=source,
        standards=tuple(standard.name for standard in standards),
        passed=None if partial else all(verdict.passed for verdict in verdicts.values()),
        violations=tuple(one for one in found if not one.advisory),
        advisories=tuple(one for one in found if one.advisory),
        verdicts=verdicts,
        series=series,
        frames=frames,
        seconds=seconds,
        size=size,
        rate=(frames - 1) / (series.seconds[-1] - series.seconds[0]) if len(series.seconds) > 1 else None,
        partial=partial,
        notes=notes,
    )


def _joined(sides: tuple[Sides, ...]) -> Sides:
    if len(sides) == 1:
        return sides[0]
    return np.concatenate([up for up, _ in sides]), np.concatenate([down for _, down in sides])


def _number(item: T, known: list[T]) -> int:
    """The place of an item in a list, to which it is added where it is new."""
    if item not in known:
        known.append(item)
    return known.index(item)

"""A limiter of transitions: the analysis runs on what is shown, and what would break a rule is held.

Every picture is first taken as it is. Points whose transitions would be too many are *held*: they go from what they
showed last towards what is given only as far as is no transition under any definition in use. All others stay bit for
bit. So no picture ever breaks a rule, and what is held catches up in steps too small or too slow to be flashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparring.flash.analysis.areas import Extent
from sparring.flash.analysis.counting import Gate, Kept, Tally
from sparring.flash.analysis.sampling import Grid, Taker, grid
from sparring.flash.analysis.transitions import NONE, TICK, Detector, Floats, Light, Points, detector, lights
from sparring.flash.reading.colour import Codes, Sdr
from sparring.flash.reading.pictures import Picture, Plane
from sparring.flash.standards import Area, Flash, Luminance, Red, Standard

SHARE = 0.85  # of the difference that makes a transition: held points stay below it, for the encoder's noise
HALVINGS = 6  # a step is as long as it may be to 1/64 of the way
PATIENCE = 8  # looks at one picture, after which every transition in it is held
CHUNK = 1 << 14  # cells handled together

Planes: TypeAlias = "list[NDArray[Any]]"
"""Code values (rows, columns) of every plane of a picture as shown."""
Mask: TypeAlias = "NDArray[np.bool_]"
Place: TypeAlias = tuple[Points, Points]
Sides: TypeAlias = tuple[Points, Points]
_Gated: TypeAlias = tuple[int, Area, float]
_Tallied: TypeAlias = tuple[_Gated, float, "tuple[float, float] | None"]
Active: TypeAlias = Callable[[float], bool]
"""Whether a standard is to be kept at a time in seconds."""


@dataclass(frozen=True)
class _Definition:
    change: Luminance | Red
    ramp: float | None
    sdr: Sdr


@dataclass
class _Rule:
    """A rule, and of one that asks how long, the sequence that goes on."""

    flash: Flash
    definition: int
    extent: Extent
    tally: Tally
    active: Active
    start: float = np.nan
    end: float = -np.inf
    open: bool = False

    def begun(self, points: Points) -> float:
        """When the sequence began in which these points made too many transitions."""
        since = self.tally.since(points) if self.tally.history else np.inf
        return self.start if self.open or since <= self.end + TICK else since

    def settle(self, seconds: float, counted: bool) -> None:
        points = self.tally.beyond(self.flash.transitions) if self.tally.history else NONE
        if not self.extent.room(points, 1.0) or not self.extent.exceeds(self.extent.share(points)):
            self.open = False
            return
        self.start = self.begun(points)
        self.end = seconds if counted or not self.open else self.end
        self.open = True


@dataclass
class _Part:
    """Some of the points, their detectors by definition, and what they showed last."""

    where: slice
    taker: Taker
    detectors: list[Detector]
    codes: list[Codes]


@dataclass
class _Look:
    """What a part of a picture would show: no light where nothing changed."""

    codes: list[Codes]
    light: dict[Sdr, Light] | None
    found: list[Sides]


class Regulator:
    """Takes pictures in order and gives what may be shown, within all the rules that are active."""

    def __init__(self, standards: Iterable[tuple[Standard, Active]], aspect: float | None = None) -> None:
        """Standards and when each is to be kept; advisory rules are not. `aspect`: of the picture as it is shown."""
        self.standards, self.aspect = tuple(standards), aspect
        self.shown: Picture | None = None
        self.grid: Grid
        self.parts: list[_Part] = []
        self.definitions: list[_Definition] = []
        self.gates: dict[_Gated, Gate] = {}
        self.tallies: dict[_Tallied, Tally] = {}
        self.rules: dict[int, list[_Rule]] = {}  # by the tally that they read

    def push(self, picture: Picture, *, look_on: bool = False) -> Picture:
        """The picture that may be shown: the very one given where nothing had to be held. `look_on`: nothing is."""
        if self.shown is None:
            self._begin(picture)
        given, held = picture, np.zeros(_cells(picture), bool)
        looks = [self._look(part, picture) for part in self.parts]
        for attempt in range(PATIENCE + 2):
            found = self._joined(looks)
            passed = {key: gate.peek(picture.seconds, *found[key[0]])[0] for key, gate in self.gates.items()}
            if look_on or self.shown is None:
                break
            over = self._excess(found, passed, picture.seconds) if attempt < PATIENCE else self._marked(*chain(*found))
            fresh = _of_points(over, given) & ~held
            if not fresh.any():
                break
            held |= fresh
            picture = self._hold(picture, fresh)
            touched = _to_points(fresh, given)
            for number, part in enumerate(self.parts):
                if touched[part.where].any():
                    looks[number] = self._look(part, picture)
        self._keep(looks, found, passed, picture.seconds)
        if picture is not given and _same(picture, given):
            picture = given
        self.shown = picture
        return picture

    def _begin(self, picture: Picture) -> None:
        self.grid = points = grid(picture.size, None)
        width, height = picture.size
        pixel = self.aspect * height / width if self.aspect else 1.0
        for standard, active in self.standards:
            for rule in standard.flashes:
                if rule.advisory:
                    continue
                definition = _Definition(rule.change, standard.ramp, standard.sdr)
                if definition not in self.definitions:
                    self.definitions.append(definition)
                number = self.definitions.index(definition)
                gate = number, rule.area, standard.sync
                if gate not in self.gates:
                    self.gates[gate] = Gate(Extent(rule.area, points, pixel), standard.sync, (1.0,), len(points))
                extent, key = self.gates[gate].extent, (gate, rule.window, rule.gap)
                if key not in self.tallies:
                    self.tallies[key] = Tally(len(points), rule.window, rule.gap)
                tally = self.tallies[key]
                self.rules.setdefault(id(tally), []).append(_Rule(rule, number, extent, tally, active))
        for where in points.patches():
            detectors = [detector(one.change, one.ramp, picture.colour.hdr) for one in self.definitions]
            self.parts.append(_Part(where, Taker(points.rows[where], points.columns[where]), detectors, []))

    def _look(self, part: _Part, picture: Picture) -> _Look:
        codes = part.taker.codes(picture)
        if part.codes and all(np.array_equal(one, other) for one, other in zip(part.codes, codes, strict=True)):
            return _Look(codes, None, [(NONE, NONE) for _ in self.definitions])
        light = lights(picture.colour, codes, (one.sdr for one in self.definitions))
        found = [
            seen.find(light[one.sdr], picture.seconds)
            for one, seen in zip(self.definitions, part.detectors, strict=True)
        ]
        return _Look(codes, light, found)

    def _joined(self, looks: list[_Look]) -> list[Sides]:
        """The transitions of all points, by definition."""
        found = []
        for number in range(len(self.definitions)):
            sides = [
                [look.found[number][side] + part.where.start for look, part in zip(looks, self.parts, strict=True)]
                for side in (0, 1)
            ]
            found.append((np.concatenate(sides[0]), np.concatenate(sides[1])))
        return found

    def _excess(self, found: list[Sides], passed: dict[_Gated, Sides], seconds: float) -> Mask:
        """The points whose transitions now would break a rule."""
        over = np.zeros(len(self.grid), bool)
        for (gate, *_), tally in self.tallies.items():
            tally.forget(seconds)
            new = tally.changes(seconds, *passed[gate])
            for rule in self.rules[id(tally)] if new is not None else ():
                if rule.active(seconds):
                    assert new is not None
                    over[self._guilty(rule, new, found[gate[0]], seconds)] = True
        return over

    def _guilty(self, rule: _Rule, new: Kept, found: Sides, seconds: float) -> Points:
        points = rule.tally.beyond(rule.flash.transitions, new)
        lasting = rule.flash.lasting
        if lasting and (not len(points) or seconds - rule.begun(points) <= lasting + TICK):
            return NONE
        inside = self._marked(points)
        if not lasting and not inside[new.points].any():  # there were too many before
            return NONE
        if not rule.extent.room(points, 1.0):
            return NONE
        (crowd,) = rule.extent.crowded(points, (1.0,))
        if not len(crowd):
            return NONE
        # any transition would prolong a sequence
        guilty = new.points if lasting else new.points[self._marked(crowd)[new.points]]
        if not len(guilty):
            return NONE
        present = self._marked(*found)
        now = guilty[present[guilty]]
        return now if len(now) else np.flatnonzero(present)  # they are counted now because others are

    def _marked(self, *points: Points) -> Mask:
        marked = np.zeros(len(self.grid), bool)
        for some in points:
            marked[some] = True
        return marked

    def _hold(self, picture: Picture, cells: Mask) -> Picture:
        """The picture with these cells between what they showed last and what is given, as near to it as may be."""
        assert self.shown is not None
        planes = [plane.copy() for plane in _planes(picture)]
        before = _planes(self.shown)
        rows, columns = np.nonzero(cells)
        for start in range(0, len(rows), CHUNK):
            chunk = slice(start, start + CHUNK)
            places = _places(picture, rows[chunk], columns[chunk])
            old, new = (
                [plane[at].astype(np.float32) for plane, at in zip(side, places, strict=True)]
                for side in (before, planes)
            )
            for plane, at, codes in zip(planes, places, self._step(picture, places, old, new), strict=True):
                plane[at] = codes
        return picture_of_planes(planes, picture)

    def _step(self, picture: Picture, places: list[Place], old: list[Floats], new: list[Floats]) -> list[Floats]:
        """Codes of cells (n,) on the way from old to new ones, as far as is no transition; the old ones never are."""
        rows, columns = places[0]
        points = (rows * picture.size[0] + columns).ravel()
        parts = []
        for part in self.parts:
            inside = np.flatnonzero((points >= part.where.start) & (points < part.where.stop))
            if len(inside):
                local = points[inside] - part.where.start
                parts.append((inside, [seen.part(local, SHARE) for seen in part.detectors]))

        def moves(share: Floats) -> Mask:
            codes: list[Codes] = [
                np.broadcast_to(np.rint(one), rows.shape).ravel().astype(np.uint16) for one in _between(old, new, share)
            ]
            moved = np.zeros(len(points), bool)
            for inside, detectors in parts:
                light = lights(picture.colour, [one[inside] for one in codes], (one.sdr for one in self.definitions))
                for one, seen in zip(self.definitions, detectors, strict=True):
                    for side in seen.find(light[one.sdr], picture.seconds):
                        moved[inside[side]] = True
            return np.asarray(moved.reshape(rows.shape).any(axis=0))

        return [np.rint(codes) for codes in _between(old, new, _farthest(moves, old))]

    def _keep(self, looks: list[_Look], found: list[Sides], passed: dict[_Gated, Sides], seconds: float) -> None:
        """Remember what is shown."""
        for part, look in zip(self.parts, looks, strict=True):
            part.codes = look.codes
            for one, seen, (up, down) in zip(self.definitions, part.detectors, look.found, strict=True):
                if look.light is None:
                    seen.still(seconds)
                else:
                    seen.keep(look.light[one.sdr], seconds, up, down)
        for key, gate in self.gates.items():
            gate.note(seconds, *found[key[0]])
        for (gated, *_), tally in self.tallies.items():
            tally.forget(seconds)
            counted = tally.add(seconds, *passed[gated])
            for rule in self.rules[id(tally)]:
                if rule.flash.lasting:
                    rule.settle(seconds, counted)


def _between(start: list[Floats], end: list[Floats], share: Floats) -> list[Floats]:
    return [one + share * (other - one) for one, other in zip(start, end, strict=True)]


def _farthest(too_far: Callable[[Floats], Mask], codes: list[Floats]) -> Floats:
    """For each cell (n,), the largest share of a way that is not too far: 0 always is not."""
    most = np.ones(codes[0].shape[-1], np.float32)
    bad = too_far(most)
    least = np.where(bad, np.float32(0), most)
    for _ in range(HALVINGS if bad.any() else 0):
        middle = (least + most) * np.float32(0.5)
        bad = too_far(middle)
        least, most = np.where(bad, least, middle), np.where(bad, middle, most)
    return least


def _planes(picture: Picture) -> Planes:
    return [plane.array() for plane in picture.planes]


def picture_of_planes(planes: Planes, like: Picture) -> Picture:
    """A picture of contiguous planes, otherwise like another."""
    own = tuple(Plane(codes.reshape(-1), codes.shape[1], codes.shape[0], codes.shape[1]) for codes in planes)
    return replace(like, planes=own)


def _same(one: Picture, other: Picture) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(_planes(one), _planes(other), strict=True))


def _cells(picture: Picture) -> tuple[int, int]:
    """How many cells there are down and across: the points that share a chroma sample are held together."""
    width, height = picture.size
    return -(-height >> picture.shift[1]), -(-width >> picture.shift[0])


def _of_points(points: Mask, picture: Picture) -> Mask:
    """The cells (rows, columns) of these points (n,)."""
    width, height = picture.size
    (across, down), (rows, columns) = picture.shift, _cells(picture)
    whole = np.zeros((rows << down, columns << across), bool)
    whole[:height, :width] = points.reshape(height, width)
    return np.asarray(whole.reshape(rows, 1 << down, columns, 1 << across).any(axis=(1, 3)))


def _to_points(cells: Mask, picture: Picture) -> Mask:
    width, height = picture.size
    whole = cells.repeat(1 << picture.shift[1], axis=0).repeat(1 << picture.shift[0], axis=1)
    return whole[:height, :width].ravel()


def _places(picture: Picture, rows: Points, columns: Points) -> list[Place]:
    """Where each plane holds cells (n,): (points of a cell, n) in the first plane, (1, n) in the others."""
    width, height = picture.size
    across, down = picture.shift
    inner = [(y, x) for y in range(1 << down) for x in range(1 << across)]
    first = (
        np.stack([np.minimum((rows << down) + y, height - 1) for y, _ in inner]),
        np.stack([np.minimum((columns << across) + x, width - 1) for _, x in inner]),
    )
    return [first, *((rows[None], columns[None]) for _ in picture.planes[1:])]

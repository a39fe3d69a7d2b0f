"""Regular patterns against the rules (ITU-R BT.1702-3, Attachment 1; Ofcom): how large, how they move, for how long.

Each point of a pattern is followed by its phase. One that stays is stationary; one that advances evenly one way flows
and is exempt; one that turns back, jumps by half a period (reversed contrast), goes and comes, or becomes another
pattern is changing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_opening, find_objects, label

from sparring.errors import InputError
from sparring.flash.patterns import stripes
from sparring.flash.records import Box
from sparring.flash.standards import Pattern

Kind = Literal["stationary", "changing", "flowing"]
Mask = NDArray[np.bool_]

CONTRAST = 0.1  # light minus dark: 20 of 200 cd/m²
DARK_BELOW = 0.8  # the dark stripes: 160 cd/m²
IDLE = 0.125  # seconds between looks while there is no pattern, or one that has long been at rest
WATCHED = 1 / 4  # and while every frame is watched for what is new
ASLEEP = 0.5  # and while the picture does not change
SEARCH = 0.25  # seconds between searches while a pattern is followed, unless it is lost
CLOSEST = 1 / 65  # seconds between looks while there is one: every frame up to 60 a second
NEAR = 0.8  # share of a limit under which a pattern need not be followed
STIRRED, ABRUPT = 0.01, 0.1  # share of points that changed visibly: the picture is not at rest; much of it is new
SPARE, REFILL = 4.0, 2.0  # looks and searches out of turn: most at once, and how many more a second
MEMORY = 1.0  # seconds a point that lost its pattern is remembered, and the longest pause between two changes
STILL = np.pi / 4  # phase a pattern at rest may wander: an eighth of a period
BIG = 2.0  # a phase step that is a jump unless the last one was alike
HALF = np.pi - 0.25  # from here to half a period a step is a reversal: which way it went cannot be told
CHANGES = 3  # that make a pattern a changing one; its appearance is one, a change of direction two


@dataclass(frozen=True)
class Look:
    """What one rule says at one look. `hazardous` is True exactly where `area` > `limit` and it lasted long enough."""

    kind: Kind | None = None  # None: no pattern of enough pairs and light
    area: float = 0.0  # share of the screen that counts under `limit`, in [0, 1]; 0 where the pattern flows
    limit: float = 1.0  # the rule's limit for this kind
    shown: float = 0.0  # share of the screen with any such pattern, exempt or not
    pairs: int = 0  # light-dark pairs of the pattern with the most
    boxes: tuple[Box, ...] = ()  # around what counts (what is shown, where it flows), in map pixels
    since: float | None = None  # where hazardous: when it began
    hazardous: bool = False


class Patterns:
    """Follows the patterns of a picture sequence in constant memory, for all `rules` at once."""

    def __init__(self, rules: Sequence[Pattern]) -> None:
        self._rules = tuple(rules)
        kinds = dict.fromkeys((rule.pairs, rule.light) for rule in self._rules)
        self._tracks = {kind: _Track() for kind in kinds}
        self._seconds: float | None = None  # of the last call of `due`
        self._looked = -np.inf
        self._frame = 0.0
        self._near = -np.inf  # when a candidate was last seen
        self._stirred = -np.inf  # when the picture or a pattern last changed
        self._points: NDArray[np.float32] | None = None
        self._spare = SPARE
        self._usual = 0.0  # share of the points that changes, from one look to the next
        self._last: list[tuple[float, stripes.Stripes]] = []  # what was found, and when
        self._searched = -np.inf
        self._least = min((rule.pairs for rule in self._rules), default=0)
        self._limit = NEAR * min((min(rule.changing, rule.stationary) for rule in self._rules), default=1.0)
        self._lasting = max((rule.seconds for rule in self._rules), default=0.0) + IDLE

    def due(self, seconds: float, points: NDArray[np.float32] | None = None) -> bool:
        """Whether a luminance map should be pushed for the frame shown at `seconds`: ask once for every frame.

        True eight times a second while nothing is like a pattern and at every frame (up to 60 a second) while
        something is. `points`: relative luminance of any fixed points of the frame, (N,), a few thousand; with them a
        pattern is seen at the frame on which it appears, its duration is exact to a frame, not to 0.125 s, and looks
        are rarer: four a second while there is no pattern, two while the picture is at rest, eight while a pattern has
        been at rest for longer than any rule allows.
        """
        if self._seconds is not None and 0 < seconds - self._seconds <= 0.2:
            self._frame = seconds - self._seconds
            self._spare = min(SPARE, self._spare + REFILL * self._frame)
        self._seconds = seconds
        passed = seconds - self._looked + 1e-3
        near = bool(self._last) and seconds - self._near <= MEMORY
        if points is None:
            return passed >= (CLOSEST if near else IDLE)
        points = points[:: max(1, len(points) // 4096)]
        changed = 1.0
        if self._points is not None and points.shape == self._points.shape:
            changed = float((np.abs(points - self._points) > 0.4 * CONTRAST).mean())
        if changed > STIRRED:
            self._stirred = seconds
        if near:
            due = passed >= (CLOSEST if seconds - self._stirred <= self._lasting else IDLE)
        else:
            due = passed >= (WATCHED if changed > STIRRED else ASLEEP)
            if not due and changed > max(ABRUPT, 2 * self._usual) and self._spare >= 1:
                due = True
                self._spare -= 1
        if due:
            self._points = points.copy()
            self._usual += 0.3 * (changed - self._usual)
        return due

    def push(
        self, luminance: NDArray[np.float32], seconds: float, points: Callable[[], NDArray[np.float32]] | None = None
    ) -> tuple[Look, ...]:
        """What each rule says of the frame shown at `seconds`; (h, w) linear relative luminance, area-averaged.

        About 130 000 points (480 × 270): finer stripes than three of them are not seen. `points` is asked, only when
        something is like a pattern, for a map (h, w) of single pixels in the places of the averages: without it, lines
        of text so small that its letters were averaged away are taken for stripes.
        """
        if luminance.ndim != 2 or not min(luminance.shape):
            raise InputError(f"luminance must be a map (h, w), got shape {luminance.shape}: push one frame at a time")
        if seconds < self._looked:
            raise InputError(f"seconds went back from {self._looked:g} to {seconds:g}: push frames in the order shown")
        luminance = np.asarray(luminance, np.float32)
        shape = _raster(luminance.shape)
        self._last = [(t, s) for t, s in self._last if s.mask.shape == shape and seconds - t <= MEMORY / 2]
        found: list[stripes.Stripes] = []
        spectrum = stripes.Spectrum(luminance) if self._last else None
        if spectrum is not None and seconds - self._searched < SEARCH - 1e-3:
            found = [again for _, before in self._last if (again := _still(spectrum, before)) is not None]
        if not found and self._search(seconds):
            found = stripes.find(luminance, CONTRAST, DARK_BELOW, points, self._least, spectrum)
            fresh = [(seconds, pattern) for pattern in found]
            seen = np.logical_or.reduce([np.zeros(shape, np.bool_), *(pattern.mask for pattern in found)])
            for time, before in self._last:
                # A pattern at the edge of being found must not seem to flash: is it there when looked for?
                if (before.mask & seen).sum() < 0.5 * before.mask.sum():
                    fresh.append((time, before))
                    again = _still(spectrum, before) if spectrum is not None else None
                    if again is not None:
                        found.append(again)
                        seen |= again.mask
            self._last = fresh
        candidates = [pattern.mask for pattern in found if round(pattern.pairs) > self._least]
        if candidates and np.logical_or.reduce(candidates).mean() > self._limit:
            self._near = seconds
        interval = seconds - self._looked
        self._looked = seconds
        frame = self._frame or (interval if interval <= 0.1 else 0.0)
        for (pairs, light), track in self._tracks.items():
            track.update([p for p in found if round(p.pairs) > pairs and p.light >= light], shape, seconds)
        looks = {
            rule: self._tracks[rule.pairs, rule.light].look(rule, seconds, seconds + frame, luminance.shape)
            for rule in dict.fromkeys(self._rules)
        }
        return tuple(looks[rule] for rule in self._rules)

    def _search(self, seconds: float) -> bool:
        """Whether to search the whole picture now: in turn, or out of turn because what was followed is lost."""
        if seconds - self._searched < (SEARCH if self._last else CLOSEST) - 1e-3:
            if self._spare < 1:
                return False
            self._spare -= 1
        self._searched = seconds
        return True


def _still(spectrum: stripes.Spectrum, before: stripes.Stripes) -> stripes.Stripes | None:
    again = stripes.again(spectrum, before)
    return again if again.mask.sum() > 0.5 * before.mask.sum() else None


def _raster(shape: tuple[int, ...]) -> tuple[int, int]:
    return -(-shape[0] // stripes.STEP), -(-shape[1] // stripes.STEP)


class _Phase:
    """The phase of one frequency at every point: how far it went, and which way."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.signal = np.zeros(shape, np.complex64)
        self.wave = np.zeros((2, *shape), np.float32)
        self.step = np.zeros(shape, np.float32)  # the last that was not nothing
        self.went = np.zeros(shape, np.float32)  # radians since the pattern appeared
        self.anchor = np.zeros(shape, np.float32)  # where it was when it last left its place
        self.way = np.zeros(shape, np.int8)
        self.turn = np.zeros(shape, np.float32)  # the farthest it went that way

    def choose(
        self, waves: stripes.Floats, signals: NDArray[np.complex64], power: stripes.Floats
    ) -> tuple[Mask, NDArray[np.intp]]:
        """Where the frequency followed so far is still there, and which frequency to follow now."""
        best = power.argmax(axis=0)
        most = power.max(axis=0)
        # |wave ∓ followed| ≤ 0.4 |followed|, squared
        dot = np.abs(np.tensordot(waves, self.wave, 1))
        length = np.square(self.wave).sum(axis=0)
        near = np.where(0.84 * length + np.square(waves).sum(axis=1)[:, None, None] <= 2 * dot, power, 0)
        same = near.argmax(axis=0)
        there = near.max(axis=0) > 0.2 * most
        return there & (most > 0), np.where(there, same, best)

    def follow(
        self, waves: stripes.Floats, signals: NDArray[np.complex64], chosen: NDArray[np.intp], kept: Mask, on: Mask
    ) -> tuple[Mask, Mask, Mask]:
        """Take the new phases `on` points; those `kept` continue. Where it jumped, turned back and left its place."""
        wave = np.ascontiguousarray(waves.T)[:, chosen]
        signal = np.take_along_axis(signals, chosen[None], axis=0)[0]
        against = kept & (wave[0] * self.wave[0] + wave[1] * self.wave[1] < 0)
        wave = np.where(against, -wave, wave)
        signal = np.where(against, signal.conj(), signal)
        step = np.where(kept, np.angle(signal * self.signal.conj()), 0).astype(np.float32)
        alike = np.abs((step - self.step + np.pi) % (2 * np.pi) - np.pi) < 0.8
        jumped = kept & (np.abs(step) > BIG) & ~(alike & (np.abs(step) < HALF))
        self.step = np.where(kept & (np.abs(step) > 0.2), step, self.step)
        fresh = on & ~kept
        self.step[fresh] = 0
        self.went = np.where(kept & ~jumped, self.went + step, self.went)
        left = kept & (jumped | (np.abs(self.went - self.anchor) > STILL)) | fresh
        self.anchor = np.where(left, self.went, self.anchor)
        self.way[fresh] = 0
        self.turn = np.where(fresh, self.went, self.turn)
        ahead = (self.went - self.turn) * np.where(self.way == 0, 1, self.way)
        turned = kept & (self.way != 0) & (ahead < -STILL)
        set_out = kept & (self.way == 0) & (np.abs(ahead) > STILL / 2)
        forth = kept & (self.way != 0) & (ahead > 0)
        self.way = np.where(turned, -self.way, np.where(set_out, np.sign(ahead), self.way)).astype(np.int8)
        self.turn = np.where(turned | set_out | forth, self.went, self.turn)
        self.signal = np.where(on, signal, self.signal)
        self.wave = np.where(on, wave, self.wave)
        return jumped, turned, left

    def rest(self, where: Mask) -> None:
        self.way[where] = 0
        self.turn[where] = self.went[where]


def _solid(mask: Mask) -> Mask:
    """Without thin rims: those of a pattern come and go, and are no change."""
    out: Mask = binary_opening(mask, np.ones((3, 3), np.bool_)) if mask.any() else mask
    return out


class _Track:
    """Every point of the raster: whether a pattern is there, since when it rests, and the changes it went through."""

    def __init__(self) -> None:
        self.on = np.zeros((0, 0), np.bool_)
        self.pairs = 0

    def _begin(self, shape: tuple[int, int]) -> None:
        self.on = np.zeros(shape, np.bool_)
        self.seen = np.full(shape, -np.inf)  # when last there
        self.rested = np.full(shape, np.inf)  # since when at rest
        self.start = np.full(shape, np.inf)  # of the changes that follow one another
        self.last = np.full(shape, -np.inf)
        self.pause = np.full(shape, MEMORY)  # the longest until the next that still follows
        self.count = np.zeros(shape, np.int16)
        self.second = np.zeros(shape, np.bool_)  # whether there is a second frequency
        self.phases = (_Phase(shape), _Phase(shape))

    def update(self, found: list[stripes.Stripes], shape: tuple[int, int], seconds: float) -> None:
        if self.on.shape != shape:
            self._begin(shape)
        self.pairs = round(max((pattern.pairs for pattern in found), default=0))
        if not found:
            self.on = np.zeros(shape, np.bool_)
            return
        on = np.logical_or.reduce([pattern.mask for pattern in found])
        waves = np.concatenate([pattern.waves for pattern in found])
        signals = np.concatenate([pattern.signals * pattern.mask for pattern in found])
        power = np.square(signals.real) + np.square(signals.imag)
        known = on & (seconds - self.seen <= MEMORY)
        back = _solid(known & ~self.on)

        same, chosen = self.phases[0].choose(waves, signals, power)
        other = known & ~same
        jumped, turned, left = self.phases[0].follow(waves, signals, chosen, known & same & ~back, on)
        if len(waves) > 1:
            unit = waves / np.hypot(waves[:, 0], waves[:, 1])[:, None]
            crossing = np.abs(unit @ unit.T) < 0.77
            most = np.take_along_axis(power, chosen[None], axis=0)[0]
            power = np.where(crossing[:, chosen], power, 0)
            there = on & (power.max(axis=0) > 0.2 * most)
            same, chosen = self.phases[1].choose(waves, signals, power)
            more = self.phases[1].follow(waves, signals, chosen, known & same & there & self.second & ~back, there)
            jumped, turned = jumped | (more[0] & there), turned | (more[1] & there)
            left |= more[2] & there & self.second
            self.second = there

        self.seen[on] = seconds
        self.on = on
        fresh = on & ~known
        self.rested[left | back | other | fresh] = seconds
        self.count[fresh] = 0
        self.last[fresh] = -np.inf
        self._change(fresh, seconds, 1)
        self._change((back | jumped | _solid(other)) & ~fresh, seconds, 1)
        self._change(turned & ~jumped, seconds, 2)
        for phase in self.phases:
            phase.rest(on & (seconds - self.rested > MEMORY))

    def _change(self, where: Mask, seconds: float, weight: int) -> None:
        if not where.any():
            return
        since = seconds - self.last
        follows = where & (since <= self.pause)
        anew = where & ~follows
        self.count[follows] += weight
        self.count[anew] = weight
        self.start[anew] = seconds
        self.pause[follows] = np.clip(2 * since[follows], 0.25, MEMORY)
        self.pause[anew] = MEMORY
        self.last[where] = seconds

    def look(self, rule: Pattern, seconds: float, until: float, size: tuple[int, ...]) -> Look:
        changing = (self.count >= CHANGES) & (seconds - self.last <= self.pause) & (seconds - self.seen <= self.pause)
        moving = (self.phases[0].way != 0) | (self.second & (self.phases[1].way != 0))
        resting = self.on & ~changing & ~(moving & (until - self.rested < rule.seconds - 1e-3))
        shown = float((self.on | changing).mean())
        if not shown:
            return Look()
        long = self.seen + (until - seconds) - rule.seconds + 1e-3  # what is gone lasts no longer
        kinds: tuple[tuple[Kind, float, Mask, NDArray[np.float64]], ...] = (
            ("changing", rule.changing, changing, self.start),
            ("stationary", rule.stationary, changing | resting, np.where(changing, self.start, self.rested)),
        )
        looks = []
        for kind, limit, mask, since in kinds:
            lasting = mask & (since <= long)
            area = float(lasting.mean())
            if area > limit:
                look = Look(kind, area, limit, shown, self.pairs, (), float(np.median(since[lasting])), True)
                looks.append((look, lasting))
            else:
                looks.append((Look(kind, float(mask.mean()), limit, shown, self.pairs), mask))
        worst, mask = max(looks, key=lambda one: (one[0].hazardous, one[0].area / one[0].limit))
        if not worst.hazardous and worst.area < 0.5 * shown:
            worst, mask = Look("flowing", 0.0, 1.0, shown, self.pairs), self.on
        return replace(worst, boxes=_boxes(mask, size))


def _boxes(mask: Mask, size: tuple[int, ...]) -> tuple[Box, ...]:
    """Around the parts that are not tiny, in map pixels."""
    boxes = []
    for down, across in find_objects(label(mask)[0]):
        box = (across.start, down.start, across.stop, down.stop)
        if (box[2] - box[0]) * (box[3] - box[1]) >= 0.01 * mask.size:
            left, top, right, bottom = (stripes.STEP * edge for edge in box)
            boxes.append((left, top, min(right, size[1]), min(bottom, size[0])))
    return tuple(boxes)

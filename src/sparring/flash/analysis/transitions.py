"""Transitions of single points: changes of luminance, and changes into or out of a saturated red.

A point makes a transition when it differs enough from a state that it had at most `ramp` seconds before, or from the
frame just before, however long ago that was. Every transition starts the point's memory anew, so a long ramp makes
several of one direction; whoever counts takes those that alternate. Without a limit to the ramp a transition lies
between adjacent peaks and valleys, as WCAG's definition literally says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sparring.flash.reading.colour import Codes, Colour, Sdr, luminance, uv
from sparring.flash.standards import Luminance, Red

Points = NDArray[np.intp]
Floats = NDArray[np.float32]
TICK = 1e-4  # seconds: times nearer than this are the same
MICHELSON = 1 / 17
NONE: Points = np.zeros(0, np.intp)


@dataclass(frozen=True)
class Light:
    """Linear light of some points, (n,) each: BT.709 primaries and their luminance, 1.0 = reference white."""

    red: Floats
    green: Floats
    blue: Floats
    luminance: Floats


def lights(colour: Colour, codes: Sequence[Codes], readings: Iterable[Sdr]) -> dict[Sdr, Light]:
    """The light of some points' codes, for each reading of SDR codes that some standard asks for."""
    wanted: Iterable[Sdr] = dict.fromkeys(readings) or ("srgb",)
    found = {}
    for sdr in wanted:
        red, green, blue = colour.light(codes, sdr)
        found[sdr] = Light(red, green, blue, luminance(red, green, blue))
    return found


class Detector(Protocol):
    """Finds the points that would make a transition, upwards (brighter, into red) and downwards, and remembers.

    Every frame is first looked for, then kept (what is shown may be changed between), or kept as `still`. `part` is a
    copy for some of the points that already takes a `share` of the difference for enough, however bright.
    """

    def find(self, light: Light, seconds: float) -> tuple[Points, Points]: ...
    def keep(self, light: Light, seconds: float, up: Points, down: Points) -> None: ...
    def still(self, seconds: float) -> None: ...
    def part(self, points: Points, share: float) -> Detector: ...


def _large(change: Luminance, hdr: bool, dark: Floats, bright: Floats) -> NDArray[np.bool_]:
    rise = bright - dark
    enough = rise > change.delta if change.strict else rise >= change.delta
    enough &= dark < change.dark_below
    if change.michelson == "always" or (change.michelson == "hdr" and hdr):
        enough |= (dark >= change.dark_below) & (rise >= MICHELSON * (dark + bright))
    return enough


def _stricter(change: Luminance, share: float) -> Luminance:
    # From dark_below up, a Michelson contrast of 1/17 is a larger rise than delta.
    return replace(change, delta=change.delta * share, dark_below=np.inf, michelson="never")


class Steps:
    """Changes of luminance that are complete within `ramp` seconds, or from one frame to the next."""

    def __init__(self, change: Luminance, ramp: float, hdr: bool) -> None:
        self.change, self.ramp, self.hdr = change, ramp, hdr
        self.past: deque[tuple[float, Floats]] = deque()

    def find(self, light: Light, seconds: float) -> tuple[Points, Points]:
        now = light.luminance
        self._forget(seconds)
        found = [NONE, NONE]
        if not self.past:
            return NONE, NONE
        low = high = self.past[0][1]
        for _, then in list(self.past)[1:]:
            low, high = np.minimum(low, then), np.maximum(high, then)
        # No Michelson contrast of 1/17 from dark_below up is a smaller rise than this.
        least = np.float32(min(self.change.delta, self.change.dark_below / 8) * 0.999)
        rise = now - low
        fall = high - now if high is not low else -rise
        for direction, (size, dark, bright) in enumerate(((rise, low, now), (fall, now, high))):
            if size.max() >= least:
                near = np.flatnonzero(size >= least)
                found[direction] = near[_large(self.change, self.hdr, dark[near], bright[near])]
        return found[0], found[1]

    def keep(self, light: Light, seconds: float, up: Points, down: Points) -> None:
        for points in (up, down):
            for _, then in self.past if len(points) else ():
                then[points] = light.luminance[points]
        self.past.append((seconds, light.luminance.copy()))

    def still(self, seconds: float) -> None:
        """Nothing changed since the last frame, so whatever could be a transition was one already."""
        self._forget(seconds)
        self.past.append((seconds, self.past[-1][1]))

    def part(self, points: Points, share: float) -> Steps:
        part = Steps(_stricter(self.change, share), self.ramp, self.hdr)
        part.past.extend((seconds, then[points]) for seconds, then in self.past)
        return part

    def _forget(self, seconds: float) -> None:
        while len(self.past) > 1 and seconds - self.past[0][0] > self.ramp + TICK:
            self.past.popleft()


class PeaksAndValleys:
    """Changes of luminance between adjacent extremes, however long they take."""

    def __init__(self, change: Luminance, hdr: bool) -> None:
        self.change, self.hdr = change, hdr
        self.low: Floats | None = None
        self.high: Floats
        self.direction: NDArray[np.int8]

    def find(self, light: Light, seconds: float) -> tuple[Points, Points]:
        now = light.luminance
        if self.low is None:
            return NONE, NONE
        up = _large(self.change, self.hdr, self.low, now) & (self.direction != 1)
        down = _large(self.change, self.hdr, now, self.high) & (self.direction != -1) & ~up
        return np.flatnonzero(up), np.flatnonzero(down)

    def keep(self, light: Light, seconds: float, up: Points, down: Points) -> None:
        now = light.luminance
        if self.low is None:
            self.low, self.high, self.direction = now.copy(), now.copy(), np.zeros(now.shape, np.int8)
        np.minimum(self.low, now, out=self.low)
        np.maximum(self.high, now, out=self.high)
        for points, direction in ((up, 1), (down, -1)):
            self.low[points] = self.high[points] = now[points]
            self.direction[points] = direction

    def still(self, seconds: float) -> None:
        """Extremes do not age."""

    def part(self, points: Points, share: float) -> PeaksAndValleys:
        part = PeaksAndValleys(_stricter(self.change, share), self.hdr)
        if self.low is not None:
            part.low, part.high, part.direction = self.low[points], self.high[points], self.direction[points]
        return part


class RedSteps:
    """Changes into (up) and out of (down) a saturated red."""

    def __init__(self, change: Red, ramp: float | None, hdr: bool) -> None:
        # A colour has no peaks and valleys: without a limit to the ramp, frames are compared with the one before.
        self.change, self.ramp = change, ramp or 0.0
        self.past: deque[tuple[float, Light, NDArray[np.bool_], bool]] = deque()
        self.last: NDArray[np.float64] | None = None  # when each point made its last transition
        self._seen: tuple[Light, NDArray[np.bool_]] | None = None

    def find(self, light: Light, seconds: float) -> tuple[Points, Points]:
        self._forget(seconds)
        saturated = self._saturated(light)
        if not saturated.any() and not any(some for *_, some in self.past):
            return NONE, NONE
        return self._compare(light, saturated)

    def keep(self, light: Light, seconds: float, up: Points, down: Points) -> None:
        saturated = self._saturated(light)
        if self.last is None:
            self.last = np.full(len(saturated), -np.inf)
        self.last[up] = self.last[down] = seconds
        self.past.append((seconds, light, saturated, bool(saturated.any())))

    def _saturated(self, light: Light) -> NDArray[np.bool_]:
        if self._seen is None or self._seen[0] is not light:
            reds = light.red * np.float32(1 / self.change.ratio - 1) >= light.green + light.blue
            reds &= light.red > self.change.floor
            self._seen = light, reds
        return self._seen[1]

    def _compare(self, light: Light, saturated: NDArray[np.bool_]) -> tuple[Points, Points]:
        entered, left = np.zeros_like(saturated), np.zeros_like(saturated)
        for seconds, then, was, _ in self.past:
            points = np.flatnonzero(saturated | was)
            assert self.last is not None  # there is a past
            points = points[self.last[points] <= seconds]
            (u, v), (u0, v0) = (self._chromaticity(at, points) for at in (light, then))
            distance = np.hypot(u - u0, v - v0)
            far = distance > self.change.distance if self.change.strict else distance >= self.change.distance
            points, u, u0 = points[far], u[far], u0[far]
            # Two saturated reds can lie that far apart in wide gamuts only; the redder is then the one within.
            within = saturated[points] & (~was[points] | (u > u0))
            entered[points[within]] = True
            left[points[~within]] = True
        return np.flatnonzero(entered), np.flatnonzero(left & ~entered)

    def _chromaticity(self, light: Light, points: Points) -> tuple[Floats, Floats]:
        channels = [channel[points] for channel in (light.red, light.green, light.blue)]
        black = np.maximum.reduce(channels) <= self.change.floor  # whatever colour a codec's noise has there
        for channel in channels:
            channel[black] = 0
        return uv(*channels)

    def still(self, seconds: float) -> None:
        self._forget(seconds)
        self.past.append((seconds, *self.past[-1][1:]))

    def part(self, points: Points, share: float) -> RedSteps:
        change = replace(self.change, ratio=self.change.ratio * 0.975, distance=self.change.distance * share)
        part = RedSteps(change, self.ramp, hdr=False)
        part.last = None if self.last is None else self.last[points]
        for seconds, then, *_ in self.past:
            light = Light(then.red[points], then.green[points], then.blue[points], then.luminance[points])
            saturated = part._saturated(light)
            part.past.append((seconds, light, saturated, bool(saturated.any())))
        return part

    def _forget(self, seconds: float) -> None:
        while len(self.past) > 1 and seconds - self.past[0][0] > self.ramp + TICK:
            self.past.popleft()


def detector(change: Luminance | Red, ramp: float | None, hdr: bool) -> Detector:
    """What finds transitions of this kind."""
    if isinstance(change, Red):
        return RedSteps(change, ramp, hdr)
    return PeaksAndValleys(change, hdr) if ramp is None else Steps(change, ramp, hdr)

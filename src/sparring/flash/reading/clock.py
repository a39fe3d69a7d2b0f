"""When frames are shown: a stream's timestamps as seconds, on its frame grid where the container rounds them.

Matroska and FLV write whole milliseconds: two frames at 30 a second read 66 or 67. Where the timestamps of a stream are
explained by a constant rate, times are those of the rate; where not (variable frame rate), they are the timestamps.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

STANDARD_RATES = tuple(Fraction(n, 1001) for n in (24000, 30000, 60000, 120000)) + tuple(
    Fraction(n) for n in (24, 25, 30, 48, 50, 60, 72, 90, 100, 120, 144, 240)
)
RESOLVED = 3  # a grid finer than this many ticks cannot be told from any other times
STANDSTILL = 8  # frames that may share one timestamp before it is a fault


class TimeFault(ValueError):
    """Timestamps that no frame can have; the message says which."""


def frame_rate(stamps: Iterable[int], tick: Fraction, candidates: Iterable[Fraction | None]) -> Fraction | None:
    """The first of the candidate rates whose grid explains all timestamps up to the container's rounding, or None.

    `stamps` are whole ticks of `tick` seconds, in any order.
    """
    times = sorted(set(stamps))
    if len(times) < 2:
        return None
    for rate in dict.fromkeys([*(_meant(rate) for rate in candidates if rate), *STANDARD_RATES]):
        if 0 < rate * tick * RESOLVED <= 1:
            off = [_off_grid((time - times[0]) * tick, rate) for time in times]
            if max(off) - min(off) < tick:  # rounded to the nearest, or down, or up: all stay within one tick
                return rate
    return None


def _meant(rate: Fraction) -> Fraction:
    """A container that stores a frame's duration in nanoseconds gives 19001/317 for 60000/1001."""
    near = min(STANDARD_RATES, key=lambda standard: abs(standard - rate))
    return near if abs(near - rate) < rate / 100_000 else rate


def _off_grid(time: Fraction, rate: Fraction) -> Fraction:
    return time - round(time * rate) / rate


class Clock:
    """Turns the timestamps of frames, in the order in which they are shown, into strictly increasing seconds from 0."""

    def __init__(self, tick: Fraction, rate: Fraction | None = None, nominal: Fraction | None = None) -> None:
        """`tick` in seconds; `rate` is the grid (None: times stay as they are); `nominal` fills in missing times."""
        self.tick, self.rate = tick, rate
        self.step = 1 / (rate or nominal or Fraction(25))  # seconds from a frame to the next where nothing is known
        self.missing = self.shared = 0
        self._first: Fraction | None = None
        self._raw = self._last = Fraction(-1)
        self._low = self._high = Fraction(0)
        self._run = 0

    def at(self, stamp: int | None) -> float:
        """Seconds of the next frame; `TimeFault` where its timestamp lies before that of the frame before."""
        fresh = self._last < 0
        if stamp is None:
            self.missing += 1
            return self._tell(Fraction(0) if fresh else self._last + self.step)
        raw = stamp * self.tick
        if self._first is None:
            self._first = raw - (0 if fresh else self._last + self.step)
            self._raw = raw
            return self._tell(raw - self._first)
        before, self._raw = self._raw, raw
        if raw < before:
            raise TimeFault(
                f"timestamps go backwards: {float(before - self._first):.3f} s is followed by "
                f"{float(raw - self._first):.3f} s"
            )
        if raw == before:
            self.shared += 1
            self._run += 1
            if self._run > STANDSTILL:
                raise TimeFault(f"timestamps stand still at {float(raw - self._first):.3f} s")
            return self._tell(self._last + self.step / 2**self._run)
        self._run = 0
        return self._tell(self._snapped(raw - self._first))

    def _snapped(self, time: Fraction) -> Fraction:
        if self.rate is None:
            return time
        off = _off_grid(time, self.rate)
        low, high = min(self._low, off), max(self._high, off)
        if high - low >= self.tick:
            return time
        self._low, self._high = low, high
        return time - off

    def _tell(self, time: Fraction) -> float:
        if time <= self._last:  # after filled-in times
            time = self._last + self.step / 16
        self._last = time
        return float(time)

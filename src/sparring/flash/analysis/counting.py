"""Transitions that a large enough area makes together, counted for each point over a sliding second.

Only points in an area beyond the limit count (the gate), and of those only what changes their direction: concurrent
flashes are counted, not the union of flashes at different times. A second is half-open: seven transitions that span
exactly one second are six in any second.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparring.flash.analysis.areas import Extent
from sparring.flash.analysis.transitions import NONE, TICK, Points

_SIGNS = (1, -1)
_FRAME = 1e-3  # seconds: the texts' 334 ms are ten frames of 30, which is 333.3


@dataclass
class Kept:
    """Transitions that counted at one time, and those of them that followed another of their direction closely."""

    seconds: float
    points: Points  # those that rose, then those that fell
    rises: int
    near: tuple[Points, Points]

    @property
    def sides(self) -> tuple[Points, Points]:
        return self.points[: self.rises], self.points[self.rises :]


class Tally:
    """For each point, the transitions of the last `window` seconds that counted."""

    def __init__(self, points: int, window: float, gap: tuple[float, float] | None = None) -> None:
        self.window, self.gap = window, gap
        self.now = -np.inf
        self.count: NDArray[np.int16] = np.zeros(points, np.int16)
        self.direction: NDArray[np.int8] = np.zeros(points, np.int8)
        self.history: deque[Kept] = deque()
        # For flashes that keep a distance: when each point last went each way, how many came sooner than allowed, and
        # which way its leading edges go: that of the first transition after a quiet second.
        self.leads = np.zeros(points, np.int8) if gap else None
        self.last = np.full((2, points), -np.inf) if gap else None
        self.near = np.zeros((2, points), np.int16) if gap else None

    def forget(self, seconds: float) -> bool:
        """Drop what is older than the window; whether anything was."""
        changed = False
        while self.history and seconds - self.history[0].seconds >= self.window - TICK:
            old = self.history.popleft()
            self.count[old.points] -= 1
            self.direction[old.points[self.count[old.points] == 0]] = 0
            if self.near is not None:
                for side in (0, 1):
                    self.near[side][old.near[side]] -= 1
            changed = True
        return changed

    def add(self, seconds: float, up: Points, down: Points) -> bool:
        """Count the points whose direction changes; whether any did."""
        new = self.changes(seconds, up, down)
        self.now = seconds
        if new is None:
            return False
        if self.leads is not None:
            for side, sign in zip(new.sides, _SIGNS, strict=True):
                self.leads[side[self.direction[side] == 0]] = sign
        for number, sign in enumerate(_SIGNS):
            self.direction[new.sides[number]] = sign
            if self.last is not None and self.near is not None:
                self.last[number][new.sides[number]] = seconds
                self.near[number][new.near[number]] += 1
        self.count[new.points] += 1
        self.history.append(new)
        return True

    def changes(self, seconds: float, up: Points, down: Points) -> Kept | None:
        """What `add` would count."""
        sides = [side[self.direction[side] != sign] for side, sign in zip((up, down), _SIGNS, strict=True)]
        points = np.concatenate(sides)
        if not len(points):
            return None
        near = [NONE, NONE]
        if self.last is not None:
            apart = self._apart(seconds - self.now)
            near = [side[seconds - last[side] < apart - _FRAME] for side, last in zip(sides, self.last, strict=True)]
        return Kept(seconds, points, len(sides[0]), (near[0], near[1]))

    def _apart(self, since: float) -> float:
        """The gap in the environment, of 50 or 60 Hz, to which this time between two frames belongs."""
        assert self.gap is not None
        rate = 1 / since
        return self.gap[0] if rate > 24.5 and abs(rate / 25 - round(rate / 25)) < 0.01 else self.gap[1]

    def beyond(self, transitions: int, new: Kept | None = None) -> Points:
        """The points that made more than so many, or would with what is `new`."""
        many = self.count > transitions
        if new is not None:
            many[new.points] = self.count[new.points] >= transitions
        if self.near is not None:  # flashes are acceptable where their leading edges keep apart
            close = self.near > 0
            if new is not None:
                for side in (0, 1):
                    close[side][new.near[side]] = True
            many &= np.where(self.leads == 1, close[0], close[1])
        return np.flatnonzero(many)

    def since(self, points: Points) -> float:
        """When the first of the transitions of these points was that still count."""
        chosen = np.zeros(len(self.count), bool)
        chosen[points] = True
        return next(kept.seconds for kept in self.history if chosen[kept.points].any())


class Gate:
    """Lets pass the transitions that happen together over too large an area, once for each slack of the limit."""

    def __init__(self, extent: Extent, sync: float, slacks: tuple[float, ...], points: int) -> None:
        self.extent, self.sync, self.slacks, self.points = extent, sync, slacks, points
        self.recent: deque[tuple[float, Points, Points]] = deque()

    def push(self, seconds: float, up: Points, down: Points) -> list[tuple[Points, Points]]:
        """For each slack, the points whose rises, and whose falls, are let pass."""
        passed = self.peek(seconds, up, down)
        self.note(seconds, up, down)
        return passed

    def note(self, seconds: float, up: Points, down: Points) -> None:
        """Remember these for what comes next."""
        if len(up) or len(down):
            self.recent.append((seconds, up, down))

    def peek(self, seconds: float, up: Points, down: Points) -> list[tuple[Points, Points]]:
        """What `push` would let pass."""
        while self.recent and seconds - self.recent[0][0] >= self.sync - TICK:
            self.recent.popleft()
        if not len(up) and not len(down):
            return [(NONE, NONE) for _ in self.slacks]
        if self.recent:  # at high frame rates a flash may take a few frames to be everywhere
            latest = np.zeros(self.points, np.int8)
            for _, rises, falls in (*self.recent, (seconds, up, down)):
                latest[rises], latest[falls] = 1, -1
            up, down = np.flatnonzero(latest == 1), np.flatnonzero(latest == -1)
        return list(zip(*(self.extent.crowded(side, self.slacks) for side in (up, down)), strict=True))


@dataclass(frozen=True)
class Level:
    """What one rule says at one moment."""

    count: int  # the most transitions that an area beyond the limit shares
    area: float  # the largest share of points with too many
    points: Points  # those, where they are too many
    since: float  # when the first of their transitions was


class Counter:
    """One gate's tally, read by all rules that share it; looks at areas only when something changed."""

    def __init__(self, extent: Extent, slack: float, tally: Tally) -> None:
        self.extent, self.slack, self.tally = extent, slack, tally
        self.count = 0
        self.levels: dict[int, Level] = {}

    def push(self, seconds: float, up: Points, down: Points) -> bool:
        """Whether anything was counted at this moment."""
        forgot = self.tally.forget(seconds)
        counted = self.tally.add(seconds, up, down)
        if forgot or counted:
            self.levels.clear()
            self.count = self._most(self.count + counted)
        return counted

    def level(self, transitions: int) -> Level:
        if transitions not in self.levels:
            points = self.tally.beyond(transitions) if self.count > transitions else NONE
            area = self.extent.share(points)
            hazard = len(points) > 0 and bool(self.extent.exceeds(area, self.slack))
            count = self.count if hazard else min(self.count, transitions)
            self.levels[transitions] = (
                Level(count, area, points, self.tally.since(points)) if hazard else Level(count, area, NONE, np.inf)
            )
        return self.levels[transitions]

    def _most(self, at_most: int) -> int:
        """The most transitions that too large an area shares; one moment adds one at most."""
        for count in range(at_most, 0, -1):
            points = np.flatnonzero(self.tally.count >= count)
            if self.extent.room(points, self.slack) and self.extent.exceeds(self.extent.share(points), self.slack):
                return count
        return 0

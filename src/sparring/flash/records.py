"""What an analysis says: a verdict per standard, the incidents behind it, and a row per frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the picture as shown; right and bottom outside


@dataclass(frozen=True)
class Violation:
    """One incident under one rule. An advisory one (`advisory`) is told but decides nothing."""

    standard: str
    rule: str  # "general flash", "red flash", "extended flash", "pattern" …
    start: float  # seconds: the first of the transitions that together are too many
    end: float  # seconds: the last transition of the incident
    area: float  # the largest share reached, of the screen or of the window, in [0, 1]
    count: int  # the most transitions within one second (flashes: half of it); for a pattern, pairs of stripes
    margin: float  # signed: below 0 by how far the area goes beyond its limit, as a share of the limit
    boxes: tuple[Box, ...]
    clause: str
    advisory: bool = False


@dataclass(frozen=True)
class Verdict:
    """What one standard says."""

    standard: str
    passed: bool | None  # None: only a part could be analysed
    violations: tuple[Violation, ...] = ()
    advisories: tuple[Violation, ...] = ()


@dataclass(frozen=True)
class Series:
    """A row per frame: columns of one length."""

    seconds: NDArray[np.float64]  # (T,) presentation times
    # "standard: rule" -> (T,): the most transitions in the last second that an area beyond the limit shares,
    # the largest share of the area that has too many of them, and the signed margin (below 0: does not meet)
    count: dict[str, NDArray[np.int16]] = field(default_factory=dict)
    area: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    margin: dict[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class Analysis:
    """The whole: `passed` is True where every standard asked for is met, None where only a part could be analysed."""

    source: str
    standards: tuple[str, ...]
    passed: bool | None
    violations: tuple[Violation, ...]
    advisories: tuple[Violation, ...]
    verdicts: dict[str, Verdict]
    series: Series
    frames: int
    seconds: float  # length of what was analysed
    size: tuple[int, int]  # width, height as shown
    rate: float | None  # frames a second on average; None for fewer than two frames
    partial: str | None = None  # why only a part could be analysed
    notes: tuple[str, ...] = ()  # what was assumed: an untagged matrix, letterbox bars, fields, a loop …

"""Analyses written by hand: what is found is decided here, so that what is told of it can be checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sparring.flash.profiles import STANDARDS
from sparring.flash.records import Analysis, Series, Verdict, Violation
from sparring.flash.standards import Flash, Standard

BOXES = ((300, 200, 900, 800), (1000, 500, 1500, 1000))


def analysis(
    standards: Sequence[str | Standard] = ("wcag2.2",),
    incidents: Sequence[tuple[float, float]] = ((1.0, 3.0),),
    frames: int = 240,
    rate: float = 30.0,
    source: str = "clip.mp4",
    partial: str | None = None,
    notes: tuple[str, ...] = (),
    size: tuple[int, int] = (1920, 1080),
    boxes: tuple[tuple[int, int, int, int], ...] = BOXES,
    count: int = 9,
    silent: Sequence[str] = (),
) -> Analysis:
    """Each incident goes against every rule about luminance, of the standards that are not `silent`."""
    chosen = [STANDARDS[one] if isinstance(one, str) else one for one in standards]
    seconds = np.arange(frames) / rate
    series = Series(seconds)
    violations: list[Violation] = []
    advisories: list[Violation] = []
    for standard in chosen:
        for rule in standard.rules:
            counts, areas = np.zeros(frames, np.int16), np.zeros(frames, np.float32)
            if isinstance(rule, Flash) and rule.name != "red flash" and standard.name not in silent:
                for number, (start, end) in enumerate(incidents):
                    during = (seconds >= start) & (seconds < end)
                    counts[during], areas[during] = count, 0.314
                    found = Violation(
                        standard.name, rule.name, start, end, 0.314, count, -0.256 - number / 100, boxes, rule.clause,
                        rule.advisory,
                    )  # fmt: skip
                    (advisories if rule.advisory else violations).append(found)
            key = f"{standard.name}: {rule.name}"
            series.count[key], series.area[key] = counts, areas
            series.margin[key] = np.where(areas > 0, 1 - areas / 0.25, 1 - counts / 7).astype(np.float32)
    verdicts = {}
    for standard in chosen:
        broken = tuple(one for one in violations if one.standard == standard.name)
        advised = tuple(one for one in advisories if one.standard == standard.name)
        verdicts[standard.name] = Verdict(
            standard.name, False if broken else None if partial else True, broken, advised
        )
    said = {one.passed for one in verdicts.values()}
    return Analysis(
        source=source,
        standards=tuple(one.name for one in chosen),
        passed=False if False in said else None if None in said else True,
        violations=tuple(violations),
        advisories=tuple(advisories),
        verdicts=verdicts,
        series=series,
        frames=frames,
        seconds=frames / rate,
        size=size,
        rate=rate if frames > 1 else None,
        partial=partial,
        notes=notes,
    )


def profiles(*names: str) -> list[Standard]:
    """Standards by name; all six without one."""
    return [STANDARDS[name] for name in names or STANDARDS]

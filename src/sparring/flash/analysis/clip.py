"""A whole clip, analysed: a coarse look at every picture, and an exact one wherever an area comes close to its limit.

Points are a sample, so areas are estimates; what a point does is exact. The first pass counts twice, with limits of
area lowered and raised by `SLACK`. What breaks no rule under the lowered limits breaks none; what breaks one under the
raised limits does. Only what lies between is decoded again and looked at pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from os import PathLike

import numpy as np

from sparring.flash.analysis.analyser import Analyser, concluded
from sparring.flash.analysis.incidents import Incident, Watch
from sparring.flash.analysis.sampling import POINTS
from sparring.flash.reading import Clip, Picture, Source, opened
from sparring.flash.reading.colour import Colour
from sparring.flash.records import Analysis, Series, Violation
from sparring.flash.standards import Standard, named

SLACK = 0.15  # four standard errors of an area that is a quarter of a 10° window, scattered like noise
Progress = Callable[[float, str], None]
"""Called with the share that is done, in [0, 1], and what is being done."""

_LOOPED = 7.0  # seconds of a loop that are looked at, at least twice round: the longest that a rule asks, and two more
_BEFORE = 1.2  # seconds before an incident with which an exact look begins


@dataclass(frozen=True)
class _Close:
    """An incident that the coarse look could not decide."""

    watch: Watch
    incident: Incident

    @property
    def span(self) -> tuple[float, float]:
        return self.incident.start - _BEFORE, self.incident.end


def analyse(
    source: str | PathLike[str] | Source,
    standard: str | Standard | Iterable[str | Standard] = "wcag2.2",
    *,
    colour: Colour | None = None,
    exact: bool = False,
    progress: Progress | None = None,
) -> Analysis:
    """Whether a clip meets one or several standards for flashing images, and if not, where, when and why.

    `source`: the path of a video, or `(frames, seconds)`: uint8 sRGB arrays (T, H, W, 3) or (T, H, W), and when each
    is shown, (T,) in seconds. With `colour`, codes of another kind (uint16 for more than 8 bits). `exact` looks at
    every pixel of every picture. An animation that loops is analysed while looping. `passed` is None where only a
    part could be read; `partial` then says why. Raises InputError where nothing can be read or a standard is unknown.
    """
    standards = named(standard)
    clip = opened(source, colour)
    points = None if exact else POINTS
    first = Analyser(standards, points=points, slacks=(1 - SLACK, 1 + SLACK))
    for picture in _looped(clip, progress, "looking"):
        first.push(picture)
    notes, lasts = clip.notes, 1 / clip.rate if clip.rate else 0.0
    analysis = first.finish(clip.name, clip.problem, notes, lasts)
    close = _undecided(first)
    return _decided(analysis, standards, close, _exactly(clip, standards, close, progress)) if close else analysis


def _looped(clip: Clip, progress: Progress | None, what: str) -> Iterator[Picture]:
    """The pictures of a clip; those of a loop again and again, for what flashes across its seam and for how long."""
    offset, whole = 0.0, clip.duration or 0.0
    while True:
        last = offset
        for picture in clip.pictures():
            shown = replace(picture, seconds=picture.seconds + offset) if offset else picture
            last = shown.seconds
            if progress is not None and whole:
                progress(min(1.0, last / max(whole, _LOOPED if clip.loops else 0.0)), what)
            yield shown
        offset += clip.duration or 0.0
        twice = offset >= 2 * (clip.duration or 0.0)
        if not clip.loops or clip.problem or offset <= last or (twice and offset >= _LOOPED):
            return


def _undecided(first: Analyser) -> list[_Close]:
    """Incidents under the lowered limits that no incident under the raised ones overlaps."""
    return [
        _Close(watches[0], low)
        for _, watches in first.rules
        if len(watches) > 1
        for low in watches[0].violated
        if not any(high.start <= low.end and low.start <= high.end for high in watches[1].violated)
    ]


def _exactly(
    clip: Clip, standards: tuple[Standard, ...], close: list[_Close], progress: Progress | None
) -> list[Analysis]:
    """Every pixel of the stretches around what is undecided, under the rules concerned."""
    stretches: list[list[_Close]] = []
    until = -np.inf
    for one in sorted(close, key=lambda one: one.span):
        if one.span[0] > until:
            stretches.append([])
        stretches[-1].append(one)
        until = max(until, one.span[1])
    found: list[Analysis] = []
    analyser: Analyser | None = None
    for picture in _looped(clip, progress, "looking at every pixel"):
        while stretches and picture.seconds > max(one.span[1] for one in stretches[0]):
            found += [analyser.finish()] if analyser is not None else []
            analyser = None
            del stretches[0]
        if not stretches:
            break
        if picture.seconds >= min(one.span[0] for one in stretches[0]):
            if analyser is None:
                analyser = Analyser(_concerned(standards, stretches[0]), points=None)
            analyser.push(picture)
    return [*found, analyser.finish()] if analyser is not None else found


def _concerned(standards: tuple[Standard, ...], close: list[_Close]) -> tuple[Standard, ...]:
    """The standards with only those rules about which something is undecided."""
    wanted = {(one.watch.standard.name, one.watch.rule) for one in close}
    parts = (
        replace(standard, rules=tuple(rule for rule in standard.rules if (standard.name, rule) in wanted))
        for standard in standards
    )
    return tuple(part for part in parts if part.rules)


def _decided(
    analysis: Analysis, standards: tuple[Standard, ...], close: list[_Close], exact: list[Analysis]
) -> Analysis:
    """The first look with what the exact one says in place of what was undecided."""
    spans: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for one in close:
        spans.setdefault((one.watch.standard.name, one.watch.rule.name), []).append(
            (one.incident.start, one.incident.end)
        )

    def undecided(violation: Violation) -> bool:
        near = spans.get((violation.standard, violation.rule), ())
        return any(violation.start <= end + 1e-3 and start <= violation.end + 1e-3 for start, end in near)

    kept = [one for one in (*analysis.violations, *analysis.advisories) if not undecided(one)]
    found = [one for look in exact for one in (*look.violations, *look.advisories) if undecided(one)]
    return concluded(
        standards,
        [*kept, *found],
        _spliced(analysis.series, spans, exact),
        source=analysis.source,
        frames=analysis.frames,
        seconds=analysis.seconds,
        size=analysis.size,
        partial=analysis.partial,
        notes=analysis.notes,
    )


def _spliced(series: Series, spans: dict[tuple[str, str], list[tuple[float, float]]], exact: list[Analysis]) -> Series:
    """The rows of the first look, those of the exact one where something was undecided."""
    spliced = deepcopy(series)
    for look in exact:
        for names, near in spans.items():
            key = ": ".join(names)
            if key not in look.series.count:
                continue
            inside = np.zeros(len(look.series.seconds), bool)
            for start, end in near:
                inside |= (look.series.seconds >= start - 1e-9) & (look.series.seconds <= end + 1e-9)
            at = np.searchsorted(series.seconds, look.series.seconds[inside])
            spliced.count[key][at] = look.series.count[key][inside]
            spliced.area[key][at] = look.series.area[key][inside]
            spliced.margin[key][at] = look.series.margin[key][inside]
    return spliced

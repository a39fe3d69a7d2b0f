"""Which stretches of a clip are limited, and how strictly: those around its incidents, stricter where that failed.

A stretch begins before its incident, so that what had happened until then is known, and ends when what is shown has
been what was given for long enough that nothing else is remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from sparring.flash.analysis.transitions import TICK
from sparring.flash.mitigation.regulator import Active, Regulator
from sparring.flash.mitigation.softening import Softener
from sparring.flash.reading.pictures import Picture
from sparring.flash.records import Box, Violation
from sparring.flash.standards import Flash, Luminance, Standard

MEMORY = 1.2  # seconds: a second of transitions, and what may be remembered before it
LONGER = 1.05  # times the second in which transitions are counted, so that none of them is at the very limit
SPARED = 2  # transitions
# How strict: the difference that makes a transition and the area, as shares, and the transitions of six allowed.
LEVELS = ((1.0, 6), (0.9, 5), (0.8, 4), (0.7, 2), (0.6, 0))

T = TypeVar("T")


@dataclass(frozen=True)
class Span:
    """One rule that is broken for a while, and how strictly it is to be kept."""

    standard: str
    rule: str
    start: float
    end: float
    level: int = 0
    sparing: bool = False  # keep transitions for its end
    boxes: tuple[Box, ...] = ()  # where on the picture, in pixels
    pairs: int = 0  # of stripes, for a pattern

    def near(self, other: Violation) -> bool:
        return other.start <= self.end + MEMORY and self.start <= other.end + MEMORY


def spans(violations: Iterable[Violation], known: Iterable[Span] = ()) -> tuple[Span, ...]:
    """The spans of what is violated. Of those `known`, the ones that still are made stricter by a level."""
    known = tuple(known)
    failing: set[Span] = set()
    fresh: list[Span] = []
    for one in violations:
        own = [span for span in known if (span.standard, span.rule) == (one.standard, one.rule) and span.near(one)]
        failing.update(own)
        if not own:
            # what was not there before came with the changes, or with the encoder's noise
            level = 1 if known else 0
            fresh.append(Span(one.standard, one.rule, one.start, one.end, level, False, one.boxes, one.count))
    stricter = (
        replace(span, level=min(span.level + 1, len(LEVELS) - 1)) if span in failing else span for span in known
    )
    return (*stricter, *fresh)


def sparing(known: Iterable[Span], late: Iterable[float]) -> tuple[Span, ...]:
    """The spans, sparing where something was still held at `late` times after their end."""
    late = tuple(late)
    return tuple(
        replace(span, sparing=span.sparing or any(span.end < time < span.end + 2 * MEMORY for time in late))
        for span in known
    )


def limited(
    pictures: Iterable[tuple[Picture, T]],
    standards: Iterable[Standard],
    found: Iterable[Span],
    aspect: float,
) -> Iterator[tuple[Picture, Picture, T]]:
    """Every picture as given and as it may be shown, with what belongs to it; the very same picture where unchanged."""
    standards, found = tuple(standards), tuple(found)
    rules = _rules(standards, found)
    # without a limit to the ramp, peaks and valleys are remembered for ever
    lead = MEMORY if all(standard.ramp is not None for standard in standards) else float("inf")
    patterns = {(standard.name, rule.name) for standard in standards for rule in standard.patterns}
    softeners = [
        Softener(one.start, one.end, one.boxes, one.pairs, one.level)
        for one in found
        if (one.standard, one.rule) in patterns and one.boxes
    ]
    regulator: Regulator | None = None
    until = limiting = float("inf")
    for picture, item in pictures:
        now = picture.seconds
        near = [span for span in found if span.start - lead <= now <= span.end + TICK]
        if near:
            if regulator is None:
                regulator, limiting = Regulator(rules, aspect), min(span.start for span in near)
            until = max(span.end for span in near) + MEMORY
        elif now > until:
            regulator, until = None, float("inf")
        if regulator is None:
            yield picture, picture, item
            continue
        soft = picture
        for one in softeners:
            if one.start - TICK <= now <= one.end + TICK:
                soft = one.soften(soft)
        shown = regulator.push(soft, look_on=now < limiting - TICK)
        if shown is not picture:
            until = max(until, now + MEMORY)
        yield picture, shown, item


def _rules(standards: tuple[Standard, ...], found: tuple[Span, ...]) -> list[tuple[Standard, Active]]:
    """The standards, kept always, and stricter ones, each kept within the spans that ask for it."""
    rules: list[tuple[Standard, Active]] = [(standard, lambda _: True) for standard in standards]
    for standard in standards:
        for level in range(len(LEVELS)):
            own = [span for span in found if span.standard == standard.name and span.level == level]
            if own:
                strict = _strict(standard, level, {span.rule for span in own})
                rules.append((strict, _within([(span.start - TICK, span.end + TICK) for span in own])))
                last = [(span.end - LONGER, span.end - TICK) for span in own if span.sparing]
                if last:
                    rules.append((_sparing(strict), _within(last)))
    return rules


def _within(times: list[tuple[float, float]]) -> Active:
    return lambda seconds: any(start <= seconds <= end for start, end in times)


def _sparing(standard: Standard) -> Standard:
    """Fewer transitions: some are left for the end of an incident, so that what is shown then is what is given."""
    fewer = [replace(rule, transitions=max(0, rule.transitions - SPARED)) for rule in standard.flashes]
    return replace(standard, rules=tuple(fewer))


def _strict(standard: Standard, level: int, names: set[str]) -> Standard:
    """The rules of these names, made stricter."""
    share, transitions = LEVELS[level]

    def stricter(rule: Flash) -> Flash:
        change = rule.change
        change = (
            replace(change, delta=change.delta * share, dark_below=change.dark_below + 0.2 * (1 - share))
            if isinstance(change, Luminance)
            else replace(change, distance=change.distance * share, ratio=change.ratio * (0.8 + 0.2 * share))
        )
        return replace(
            rule,
            change=change,
            area=replace(rule.area, share=rule.area.share * share),
            transitions=rule.transitions * transitions // 6,
            window=rule.window * LONGER,
            lasting=rule.lasting * share,
        )

    return replace(standard, rules=tuple(stricter(rule) for rule in standard.flashes if rule.name in names))

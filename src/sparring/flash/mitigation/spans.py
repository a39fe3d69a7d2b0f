"""Which stretches of a clip are limited, and how strictly: those around its incidents, stricter where that failed.

A stretch begins before its incident, so that what had happened until then is known, and ends when what is shown has
been what was given for long enough that nothing else is remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from sparring.flash.mitigation.outlook import Outlook
from sparring.flash.mitigation.regulator import Active, Regulator
from sparring.flash.pictures import Picture
from sparring.flash.records import Violation
from sparring.flash.standards import Flash, Luminance, Standard
from sparring.flash.transitions import TICK

MEMORY = 1.2  # seconds: a second of transitions, and what may be remembered before it
LONGER = 1.05  # times the second in which transitions are counted, so that none of them is at the very limit
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

    def near(self, other: Violation) -> bool:
        return other.start <= self.end + MEMORY and self.start <= other.end + MEMORY


def spans(violations: Iterable[Violation], known: Iterable[Span] = ()) -> tuple[Span, ...]:
    """The spans of what is violated. Of those `known`, the ones near it are made stricter by a level."""
    violations, known = tuple(violations), tuple(known)
    again = {one: [span for span in known if span.near(one)] for one in violations}
    fresh = [
        Span(one.standard, one.rule, one.start, one.end, 1 if known else 0)
        for one, near in again.items()
        if not any((span.standard, span.rule) == (one.standard, one.rule) for span in near)
    ]
    failing = {span for near in again.values() for span in near}
    return (*(replace(span, level=min(span.level + (span in failing), len(LEVELS) - 1)) for span in known), *fresh)


def limited(
    outlook: Outlook[T], standards: Iterable[Standard], found: Iterable[Span], aspect: float, *, causal: bool
) -> Iterator[tuple[Picture, Picture, T]]:
    """Every picture as given and as it may be shown, with what belongs to it; the very same picture where unchanged."""
    standards, found = tuple(standards), tuple(found)
    rules = [(standard, _always) for standard in standards] + [
        (_strict(standard, level, names), _within(own))
        for standard in standards
        for level in range(len(LEVELS))
        if (own := [span for span in found if span.standard == standard.name and span.level == level])
        for names in [{span.rule for span in own}]
    ]
    # without a limit to the ramp, peaks and valleys are remembered for ever
    lead = MEMORY if all(standard.ramp is not None for standard in standards) else float("inf")
    regulator: Regulator | None = None
    until = limiting = float("inf")
    for picture, item in outlook:
        now = picture.seconds
        near = [span for span in found if span.start - lead <= now <= span.end + TICK]
        if near:
            if regulator is None:
                regulator, limiting = Regulator(rules, aspect), min(span.start for span in near)
            until = max(span.end for span in near) + MEMORY
        elif now > until:
            regulator, until = None, float("inf")
            outlook.forget()
        if regulator is None:
            yield picture, picture, item
            continue
        shown = regulator.push(picture, None if causal else outlook.mean, look_on=now < limiting - TICK)
        if shown is not picture:
            until = max(until, now + MEMORY)
        yield picture, shown, item


def _always(seconds: float) -> bool:
    return True


def _within(found: list[Span]) -> Active:
    return lambda seconds: any(span.start - TICK <= seconds <= span.end + TICK for span in found)


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

"""How verdicts and incidents are put into words: a standard is met, is not met, or could not be decided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sparring.flash.records import Analysis, Violation
from sparring.flash.standards import Flash, Pattern, Rule, Screen, Standard, Window

DISCLAIMER = "Not a medical device: meeting a standard does not exclude that a person is harmed."


def verdict(standard: str, passed: bool | None) -> str:
    """One standard: "meets wcag2.2", "does not meet wcag2.2", or "wcag2.2 could not be decided"."""
    if passed is None:
        return f"{standard} could not be decided"
    return f"{'meets' if passed else 'does not meet'} {standard}"


def verdicts(analysis: Analysis) -> str:
    """Every standard asked for, in one sentence without a full stop."""
    groups: dict[bool | None, list[str]] = {False: [], None: [], True: []}
    for name, found in analysis.verdicts.items():
        groups[found.passed].append(name)
    return "; ".join(verdict(_listed(names), passed) for passed, names in groups.items() if names)


def rule_of(standards: Iterable[Standard], violation: Violation) -> Rule | None:
    """The rule that an incident goes against; None where it is in none of the standards."""
    rules = (rule for one in standards if one.name == violation.standard for rule in one.rules)
    return next((rule for rule in rules if rule.name == violation.rule), None)


def incident(violation: Violation, rule: Rule | None = None) -> str:
    """When, how many and how large: "0.37–1.93 s, 9 transitions in a second, 31 % of the window"."""
    return f"{span(violation.start, violation.end)}, {extent(violation, rule)}"


def extent(violation: Violation, rule: Rule | None = None) -> str:
    """How many and how large: "9 transitions in a second, 31 % of the window"."""
    striped = isinstance(rule, Pattern) or (rule is None and violation.rule == "pattern")
    counted = f"{violation.count} pairs of stripes" if striped else f"{violation.count} transitions in a second"
    return f"{counted}, {share(violation.area)} of the {surface(rule)}"


def surface(rule: Rule | None) -> str:
    """What an area is a share of."""
    match rule:
        case Flash(area=Window()):
            return "window"
        case Flash(area=Screen()) | Pattern():
            return "screen"
        case _:
            return "picture"


def share(value: float) -> str:
    """A share of 1 in percent, to three digits: 31.4 %."""
    return f"{100 * value:.3g} %"


def span(start: float, end: float) -> str:
    """From when to when: "0.37–1.93 s" below a minute, "12:03.10–12:05.00" above."""
    if max(abs(start), abs(end)) < 60:
        return f"{start:.2f}–{end:.2f} s"
    return f"{clock(start, 2)}–{clock(end, 2)}"


def clock(seconds: float, decimals: int = 0) -> str:
    """A time as 12:03.10, or 1:02:03 from an hour on."""
    unit = 10**decimals
    ticks = round(abs(seconds) * unit)
    minutes, rest = divmod(ticks, 60 * unit)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest / unit:0{3 + decimals if decimals else 2}.{decimals}f}"
    return f"{'-' * (seconds < 0)}{f'{hours}:{minutes:02d}' if hours else minutes}:{tail}"


def shape(analysis: Analysis) -> str:
    """What was analysed: "1920 × 1080 · 30 frames a second · 43 frames · 1.43 s"."""
    width, height = analysis.size
    length = f"{analysis.seconds:.2f} s" if analysis.seconds < 60 else clock(analysis.seconds)
    rate = [] if analysis.rate is None else [f"{analysis.rate:.5g} frames a second"]
    frames = f"{analysis.frames:,} frame{'s' * (analysis.frames != 1)}"
    return " · ".join([f"{width} × {height}", *rate, frames, length])


def worst_first(violations: Iterable[Violation]) -> list[Violation]:
    """Those that decide before those that advise, and in each the farthest beyond its limit first."""
    return sorted(violations, key=lambda v: (v.advisory, v.margin, v.start))


def tally(passed: Sequence[bool | None]) -> str:
    """Of several clips: "3 meet, 1 does not, 1 could not be decided"."""
    meet, fail, open_ = (sum(one is value for one in passed) for value in (True, False, None))
    words = {
        f"{meet} {'meets' if meet == 1 else 'meet'}": meet,
        f"{fail} {'does' if fail == 1 else 'do'} not": fail,
        f"{open_} could not be decided": open_,
    }
    return ", ".join(text for text, number in words.items() if number)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

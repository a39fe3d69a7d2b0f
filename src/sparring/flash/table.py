"""What was found as tables for a terminal: verdicts and incidents, before and after, and the standards themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from sparring.flash.numbers import numbers
from sparring.flash.records import Analysis
from sparring.flash.standards import Standard
from sparring.flash.wording import rule_of, share, span, surface, worst_first

LISTED = 6  # incidents told of one standard


def incidents(analysis: Analysis, asked: Sequence[Standard]) -> Table:
    """A line per standard and incident, the worst of each standard in the order of time."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("standard", "verdict", "rule", "when"):
        made.add_column(heading, no_wrap=True)
    for heading in ("in a second", "area", "beyond"):
        made.add_column(heading, justify="right", no_wrap=True)
    for one in asked:
        verdict = analysis.verdicts[one.name]
        said, style = {True: ("meets", "green"), False: ("does not meet", "yellow"), None: ("undecided", "yellow")}[
            verdict.passed
        ]
        every = worst_first((*verdict.violations, *verdict.advisories))
        rows = sorted(every[:LISTED], key=lambda v: (v.advisory, v.start))
        first = rows[0] if rows and (verdict.passed is False or not rows[0].advisory) else None
        if first is None:
            made.add_row(one.name, said, style=style)
        for row in rows:
            head = (one.name, said) if row is first else ("", "advisory" if row.advisory else "")
            area = f"{share(row.area)} of the {surface(rule_of(asked, row))}"
            beyond = share(-row.margin) if row.margin < 0 else ""
            made.add_row(
                *head, row.rule, span(row.start, row.end), str(row.count), area, beyond,
                style="dim" if row.advisory else style,
            )  # fmt: skip
        if len(every) > LISTED:
            made.add_row("", "", f"… and {len(every) - LISTED} more")
    return made


def clauses(analysis: Analysis) -> list[str]:
    """The clauses that decide, each once."""
    told = (*analysis.violations, *analysis.advisories)
    return list(dict.fromkeys(f"{one.standard}, {one.rule}: {one.clause}" for one in told if one.clause))


def before_and_after(before: Analysis, after: Analysis) -> Table:
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("standard", "before", "after"):
        made.add_column(heading, no_wrap=True)
    for name, found in before.verdicts.items():
        made.add_row(name, *(_said(one.passed, len(one.violations)) for one in (found, after.verdicts[name])))
    return made


def _said(passed: bool | None, incidents: int) -> str:
    words = {True: "meets", False: "does not meet", None: "undecided"}[passed]
    return f"{words}, {incidents} incident{'s' * (incidents != 1)}" if incidents else words


def profiles(known: Iterable[Standard]) -> Table:
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    made.add_column("name", no_wrap=True)
    made.add_column("title")
    made.add_column("rules (those in brackets advise)")
    for one in known:
        rules = (f"({rule.name})" if rule.advisory else rule.name for rule in one.rules)
        made.add_row(one.name, one.title, ", ".join(rules))
    return made


def readings(standard: Standard) -> Table:
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    made.add_column("rule", no_wrap=True)
    for heading in ("what", "value", "clause"):
        made.add_column(heading)
    before = None
    for line in numbers(standard):
        if before is not None and line.of != before:
            made.add_section()
        made.add_row("" if line.of == before else line.of or "all rules", line.what, line.value, line.clause)
        before = line.of
    return made

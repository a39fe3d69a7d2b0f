"""What was found as tables for a terminal: verdicts and incidents, before and after, and the standards themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from sparring.flash.records import Analysis, Violation
from sparring.flash.report.numbers import numbers
from sparring.flash.report.wording import rule_of, share, span, surface, worst_first
from sparring.flash.standards import Standard
from sparring.report.fitting import NARROWEST, Fitting

LISTED = 6  # incidents told of one standard
_WORDS = {True: "meets", False: "does not meet", None: "undecided"}
_STYLES = {True: "green", False: "yellow", None: "yellow"}


def incidents(analysis: Analysis, asked: Sequence[Standard]) -> Fitting:
    """Each standard with its verdict, and below it its worst incidents in the order of time."""
    told = bool(_told(analysis))
    headings = ["standard, rule", "verdict, when", "in 1 s", "area", "beyond"] if told else ["standard", "verdict"]
    made = Fitting(headings, rank=[9, 4, 6, 5], left=headings[:2])
    for one in asked:
        verdict = analysis.verdicts[one.name]
        made.add(one.name, _WORDS[verdict.passed], *_blank(told), style=_STYLES[verdict.passed])
        every = worst_first((*verdict.violations, *verdict.advisories))
        for row in sorted(every[:LISTED], key=lambda v: (v.advisory, v.start)):
            area = f"{share(row.area)} of the {surface(rule_of(asked, row))}"
            beyond = share(-row.margin) if row.margin < 0 else ""
            name = f"  {row.rule}{' (advisory)' if row.advisory else ''}"
            style = "dim" if row.advisory else None
            made.add(name, span(row.start, row.end), str(row.count), area, beyond, style=style)
        if len(every) > LISTED:
            made.add(f"  … and {len(every) - LISTED} more", "", *_blank(told), style="dim")
    return made


def _blank(told: bool) -> list[str]:
    return [""] * 3 if told else []


def clauses(analysis: Analysis) -> Table:
    """The clauses that decide, a line per standard and rule."""
    made = Table.grid(padding=(0, 2))
    for fixed in (True, True, False):
        made.add_column(no_wrap=fixed, style="dim")
    told = sorted(_told(analysis), key=lambda one: analysis.standards.index(one.standard))
    for line in dict.fromkeys((f" {one.standard}", one.rule, one.clause) for one in told if one.clause):
        made.add_row(*line)
    return made


def _told(analysis: Analysis) -> tuple[Violation, ...]:
    return (*analysis.violations, *analysis.advisories)


def before_and_after(before: Analysis, after: Analysis) -> Fitting:
    made = Fitting(["standard", "before", "after"], left=["before", "after"])
    for name, found in before.verdicts.items():
        made.add(name, *(_said(one.passed, len(one.violations)) for one in (found, after.verdicts[name])))
    return made


def _said(passed: bool | None, incidents: int) -> str:
    return f"{_WORDS[passed]}, {incidents} incident{'s' * (incidents != 1)}" if incidents else _WORDS[passed]


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
    """Every number of a standard, with the clause it comes from."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("what", "value", "clause"):
        made.add_column(heading, min_width=NARROWEST, overflow="fold")
    before: str | None = None
    for line in numbers(standard):
        if line.of != before:
            if before is not None:
                made.add_section()
            made.add_row(line.of or "all rules", style="bold")
        made.add_row(f"  {line.what}", line.value, line.clause)
        before = line.of
    return made

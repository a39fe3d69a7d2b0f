"""An evaluation's records as a table, as plain text, and as the sentence that says how to read the number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

Records = Mapping[str, Any]
_SIGNS = {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0"}


def table(records: Records) -> Table:
    """One line an attack that took anybody, in the order in which they ran, and the worst case below."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    made.add_column("attack", no_wrap=True)
    for heading in ("robust", "95 % interval", "broke", "forwards", "backwards", "time"):
        made.add_column(heading, justify="right", no_wrap=True)
    for row in filter(_taken, records["table"]):
        broke = "" if row["attack"] is None else f"{row['broke']:,}"
        made.add_row(row["name"], *_measured(row), broke, *_spent(row))
    if (checks := records.get("checks")) and checks["forwards"]:
        made.add_row("checks", "", "", "", *_spent(checks), style="dim")
    made.add_section()
    made.add_row("worst case", *_measured(records), "", *_spent(records), style="bold")
    return made


def _taken(row: Records) -> bool:
    return bool(row["forwards"])


def curve(records: Records) -> Table:
    """One line a radius: the robust accuracy there."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in (f"{_SIGNS[records['threat']['norm']]} ≤", "robust", "95 % interval"):
        made.add_column(heading, justify="right", no_wrap=True)
    for point in records["curve"]:
        made.add_row(number(point["eps"]), *_measured(point))
    return made


def findings(records: Records) -> Table:
    """One line a check of an audit: what was measured, where it is flagged, and what it proves."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    made.add_column("check", no_wrap=True)
    for heading in ("measured", "flagged at"):
        made.add_column(heading, justify="right", no_wrap=True)
    made.add_column("meaning")
    for one in records["findings"]:
        measured = "–" if one["statistic"] is None else f"{one['statistic']:.3g}"
        mark = "! " if one["flagged"] else "  "
        style = "yellow" if one["flagged"] else None
        made.add_row(f"{mark}{one['name']}", measured, f"{one['threshold']:g}", one["meaning"], style=style)
    return made


def compare(columns: Mapping[str, Records], extra: Sequence[Sequence[str]] = ()) -> Table:
    """Models side by side, one column each, taken through the same attacks; `extra` are more rows of text."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    made.add_column("", no_wrap=True)
    for name in columns:
        made.add_column(name, justify="right")
    for rows in zip(*(records["table"] for records in columns.values()), strict=True):
        label = "clean accuracy" if rows[0]["attack"] is None else f"after {rows[0]['name']}"
        made.add_row(label, *(percent(row["robust_accuracy"]) for row in rows))
    made.add_section()
    made.add_row("worst case", *(percent(r["robust_accuracy"]) for r in columns.values()), style="bold")
    made.add_row("95 % interval", *(interval(r["interval"]) for r in columns.values()))
    if extra:
        made.add_section()
    for cells in extra:
        made.add_row(*cells)
    return made


def text(content: Table, width: int = 100) -> str:
    """A table without colours, for a log or a file."""
    sink = StringIO()
    Console(file=sink, width=width, color_system=None, force_terminal=False).print(content)
    return "\n".join(line.rstrip() for line in sink.getvalue().strip("\n").splitlines())


def sentence(records: Records) -> str:
    """What the headline number means, and what it does not."""
    verdict = f" Verdict: {records['verdict']}." if records.get("verdict") else ""
    return (
        f"Read as: robust accuracy is AT MOST {percent(records['robust_accuracy'])} on these {records['examples']:,} "
        f"examples under {threat(records)}; an attack not tried here may find more.{verdict}"
    )


def threat(records: Records) -> str:
    """The threat in the field's notation: L∞ ≤ 8/255."""
    found = records["threat"]
    sign = _SIGNS.get(found["norm"], found["norm"])
    masked = " on a mask" if found.get("mask") else ""
    match found["radius"]:
        case None:
            return f"{sign} of any size{masked}"
        case [*radii]:
            return f"{sign} ≤ {min(radii):.4g} to {max(radii):.4g}{masked}"
        case radius:
            return f"{sign} ≤ {number(radius)}{masked}"


def number(value: float) -> str:
    """A radius as people write it: 8/255 rather than 0.0314."""
    levels = value * 255
    whole = abs(levels - round(levels)) < 1e-6 and 0 < round(levels) <= 64 and round(value, 3) != value
    return f"{round(levels)}/255" if whole else f"{value:.4g}"


def percent(share: float) -> str:
    """A share of 1 as a percentage."""
    return f"{share:.1%}".replace("%", " %")


def interval(edges: Sequence[float]) -> str:
    """Two shares of 1 as a range, in percent."""
    low, high = edges
    return f"{100 * low:.1f}–{100 * high:.1f}"


def _measured(row: Records) -> tuple[str, str]:
    return percent(row["robust_accuracy"]), interval(row["interval"])


def _spent(row: Records) -> tuple[str, str, str]:
    return f"{row['forwards']:,}", f"{row['backwards']:,}", f"{row['seconds']:.1f} s"

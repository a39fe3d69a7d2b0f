"""An evaluation's records as a table, as plain text, and as the sentence that says how to read the number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from rich.console import Console, RenderableType

from sparring.report.fitting import Fitting

Records = Mapping[str, Any]
_SIGNS = {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0"}


def table(records: Records) -> Fitting:
    """One line a stage in the order in which they ran, what it left standing or that it was not run, and the sum."""
    alone = bool(records.get("individual"))
    headings = ["attack", "robust", "95 % interval", *["alone"] * alone, "broke", "forwards", "backwards", "time"]
    made = Fitting(headings, rank=[9, 5, *[6] * alone, 4, 2, 1, 8])
    for row in records["table"]:
        style = "dim" if row["robust_accuracy"] is None else None
        broke = f"{row['broke']:,}" if row["attack"] is not None and not row.get("reason") else ""
        made.add(row["name"], *_measured(row), *[_alone(row)] * alone, broke, *_spent(row), style=style)
    made.line()
    made.add("worst case", *_measured(records), *[""] * alone, "", *_spent(records), style="bold")
    made.note = not_run(records)
    return made


def not_run(records: Records) -> str:
    """Which attacks took no example, and why, a line a reason."""
    reasons: dict[str, list[str]] = {}
    for row in records["table"]:
        if row.get("reason"):
            reasons.setdefault(row["reason"], []).append(row["name"])
    return "\n".join(f"not run, since {reason}: {'; '.join(names)}" for reason, names in reasons.items())


def curve(records: Records) -> Fitting:
    """One line a radius: the robust accuracy there."""
    made = Fitting([f"{_SIGNS.get(records['threat']['norm'], records['threat']['norm'])} ≤", "robust", "95 % interval"])
    for point in records["curve"]:
        made.add(number(point["eps"]), *_measured(point))
    return made


def findings(records: Records) -> Fitting:
    """One line a check of an audit: what was measured, where it is flagged, and what it proves."""
    made = Fitting(["check", "measured", "flagged at", "meaning"], rank=[2, 1, 9], flexible=["meaning"])
    for one in records["findings"]:
        measured = "–" if one["statistic"] is None else f"{one['statistic']:.3g}"
        mark = "! " if one["flagged"] else "  "
        style = "yellow" if one["flagged"] else None
        made.add(f"{mark}{one['name']}", measured, f"{one['threshold']:g}", one["meaning"], style=style)
    return made


def compare(columns: Mapping[str, Records], extra: Sequence[Sequence[str]] = ()) -> Fitting:
    """Models side by side, one column each, taken through the same attacks; `extra` are more rows of text."""
    made = Fitting(["", *columns])
    kinds = ("clean", "attack")
    stages = [[row for row in records["table"] if row.get("kind", "attack") in kinds] for records in columns.values()]
    for rows in zip(*stages, strict=True):
        label = "clean accuracy" if rows[0]["attack"] is None else f"after {rows[0]['name']}"
        made.add(label, *(_measured(row)[0] for row in rows))
    made.line()
    made.add("worst case", *(percent(r["robust_accuracy"]) for r in columns.values()), style="bold")
    made.add("95 % interval", *(interval(r["interval"]) for r in columns.values()))
    if extra:
        made.line()
    for cells in extra:
        made.add(*cells)
    return made


def text(content: RenderableType, width: int = 100) -> str:
    """A table without colours, for a log or a file."""
    sink = StringIO()
    Console(file=sink, width=width, color_system=None, force_terminal=False).print(content, markup=False)
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
    if row["robust_accuracy"] is None:
        return "not run" if row.get("reason") else "", ""
    return percent(row["robust_accuracy"]), interval(row["interval"])


def _alone(row: Records) -> str:
    found = (row.get("alone") or {}).get("robust_accuracy")
    return "" if found is None else percent(found)


def _spent(row: Records) -> tuple[str, str, str]:
    if row.get("reason") and not row["forwards"]:
        return "", "", ""
    return f"{row['forwards']:,}", f"{row['backwards']:,}", f"{row['seconds']:.1f} s"

"""An analysis for machines: JSON (schema sparring.flash/1), CSV of the per-frame series, and JUnit XML for CI."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import sparring
from sparring.errors import InputError
from sparring.files import written
from sparring.flash.records import Analysis, Violation
from sparring.flash.report.wording import DISCLAIMER, incident, rule_of, verdict
from sparring.flash.standards import Standard
from sparring.report.printable import escaped

SCHEMA = "sparring.flash/1"
# What XML 1.0 cannot hold, not even escaped.
_UNPRINTABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Entry:
    """One clip of a report: what was found in it, or why nothing could be analysed."""

    source: str
    analysis: Analysis | None = None
    error: str | None = None
    sha256: str | None = None  # of the file; None for what is no file

    def __post_init__(self) -> None:
        if (self.analysis is None) == (self.error is None):
            raise InputError(f"entry {self.source!r} has analysis and error both or neither; give exactly one")

    @property
    def passed(self) -> bool | None:
        """True: every standard is met. None: undecided, because only a part or nothing could be analysed."""
        return None if self.analysis is None else self.analysis.passed


def entry(analysis: Analysis) -> Entry:
    """A clip with the SHA-256 of its file, where its source is one."""
    return Entry(analysis.source, analysis, sha256=digest(analysis.source))


def digest(source: str) -> str | None:
    """The SHA-256 of a file in hexadecimal; None where `source` is no file."""
    try:
        with open(source, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # ValueError: a name with a null character
        return None


def overall(clips: Sequence[Entry]) -> bool | None:
    """False where any clip does not meet a standard; else None where any is undecided, or there is none; else True."""
    found = {one.passed for one in clips}
    return False if False in found else None if None in found or not found else True


def document(clips: Sequence[Entry], standards: Iterable[Standard]) -> dict[str, Any]:
    """Everything but the series, ready for `json.dumps`. Numbers that are not finite become null."""
    return {
        "schema": SCHEMA,
        "sparring": sparring.__version__,
        "disclaimer": DISCLAIMER,
        "passed": overall(clips),
        "standards": {one.name: _plain(one) for one in standards},
        "clips": [_clip(one) for one in clips],
    }


def as_json(clips: Sequence[Entry], standards: Iterable[Standard]) -> str:
    """`document` as text."""
    return json.dumps(document(clips, standards), indent=2, allow_nan=False) + "\n"


def as_csv(analysis: Analysis) -> str:
    """The series: a row per frame, its seconds, then count, area and margin of every "standard: rule"."""
    series = analysis.series
    columns: dict[str, list[str]] = {"seconds": [f"{value:.6f}" for value in series.seconds.tolist()]}
    for key in series.count:
        columns[f"{key} count"] = [str(value) for value in series.count[key].tolist()]
        columns[f"{key} area"] = [_cell(value) for value in series.area[key].tolist()]
        columns[f"{key} margin"] = [_cell(value) for value in series.margin[key].tolist()]
    sink = io.StringIO()
    rows = csv.writer(sink, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(zip(*columns.values(), strict=True))
    return sink.getvalue()


def as_junit(clips: Sequence[Entry], standards: Sequence[Standard]) -> str:
    """JUnit XML: a suite per clip, a case per standard; what is undecided is an error, so that no CI lets it by."""
    root = ElementTree.Element("testsuites", name="sparring flash check")
    for one in clips:
        suite = ElementTree.SubElement(root, "testsuite", name=_clean(escaped(one.source)))
        about = {"sparring": sparring.__version__, "sha256": one.sha256 or "", "disclaimer": DISCLAIMER}
        properties = ElementTree.SubElement(suite, "properties")
        for name, value in about.items():
            ElementTree.SubElement(properties, "property", name=name, value=value)
        for standard in standards:
            _case(suite, one, standard)
        _count(suite, suite)
    _count(root, root)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="UTF-8"?>\n', "\n")
    )


def save_json(path: str | Path, clips: Sequence[Entry], standards: Iterable[Standard]) -> None:
    """Write `as_json`, whole or not at all."""
    written(Path(path), as_json(clips, standards).encode())


def save_csv(path: str | Path, analysis: Analysis) -> None:
    """Write `as_csv`, whole or not at all."""
    written(Path(path), as_csv(analysis).encode())


def save_junit(path: str | Path, clips: Sequence[Entry], standards: Sequence[Standard]) -> None:
    """Write `as_junit`, whole or not at all."""
    written(Path(path), as_junit(clips, standards).encode())


def _clip(one: Entry) -> dict[str, Any]:
    found = one.analysis
    head = {"source": one.source, "sha256": one.sha256, "passed": one.passed, "error": one.error}
    if found is None:
        return head
    return {
        **head,
        "partial": found.partial,
        "size": list(found.size),
        "frames": found.frames,
        "seconds": _plain(found.seconds),
        "rate": _plain(found.rate),
        "verdicts": {name: verdict.passed for name, verdict in found.verdicts.items()},
        "violations": [_plain(violation) for violation in found.violations],
        "advisories": [_plain(advisory) for advisory in found.advisories],
        "notes": list(found.notes),
    }


def _plain(value: Any) -> Any:
    """A value of the records or the standards in JSON's types; an alternative tells which one it is as its `kind`."""
    if is_dataclass(value) and not isinstance(value, type):
        found = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return found if isinstance(value, Standard | Violation) else {"kind": type(value).__name__.lower(), **found}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def _case(suite: ElementTree.Element, one: Entry, standard: Standard) -> None:
    found = one.analysis
    length = 0.0 if found is None else found.seconds
    case = ElementTree.SubElement(
        suite, "testcase", classname=suite.attrib["name"], name=standard.name, time=f"{length:.3f}"
    )
    if found is None:
        message = _clean(f"{verdict(standard.name, None)}: {one.error}")
        ElementTree.SubElement(case, "error", message=message, type="unreadable").text = message
        return
    said = found.verdicts[standard.name]
    lines = [_line(violation, standard) for violation in said.violations]
    if said.passed is False:
        message = _clean(f"{verdict(standard.name, False)}: {'; '.join(lines)}")
        failure = ElementTree.SubElement(case, "failure", message=message, type="violation")
        failure.text = _clean("\n".join(lines))
    elif said.passed is None:
        message = _clean(f"{verdict(standard.name, None)}: {found.partial or 'only a part could be analysed'}")
        ElementTree.SubElement(case, "error", message=message, type="partial").text = message
    told = [f"advisory: {_line(advisory, standard)}" for advisory in said.advisories]
    told += [f"partial: {found.partial}"] if found.partial else []
    told += [f"note: {note}" for note in found.notes]
    if told:
        ElementTree.SubElement(case, "system-out").text = _clean("\n".join(told))


def _line(violation: Violation, standard: Standard) -> str:
    clause = f" ({violation.clause})" if violation.clause else ""
    return f"{violation.rule} {incident(violation, rule_of((standard,), violation))}{clause}"


def _count(element: ElementTree.Element, within: ElementTree.Element) -> None:
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        element.set(attribute, str(sum(1 for _ in within.iter(tag))))


def _clean(text: str) -> str:
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)

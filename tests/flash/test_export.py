"""JSON, CSV and JUnit say what the analysis says: every number, and never that a part is a pass."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import sparring
from flash.byhand import analysis, profiles
from sparring.errors import InputError
from sparring.flash.report import export
from sparring.flash.report.numbers import _PHRASES, numbers
from sparring.flash.report.wording import DISCLAIMER, clock, incident, rule_of, span, tally, verdicts
from sparring.flash.standards import Flash, Luminance, Pattern, Red, Screen, Standard, Window
from sparring.report.printable import escaped

PART = "decoder error after 3.20 s"


def without_kind(found: Any) -> Any:
    """The document less what tells alternatives apart, to compare with `asdict`."""
    if isinstance(found, dict):
        return {key: without_kind(value) for key, value in found.items() if key != "kind"}
    return [without_kind(value) for value in found] if isinstance(found, list) else found


def test_json_holds_every_number_of_the_analysis_and_of_the_standards(tmp_path: Path) -> None:
    found = analysis(("wcag2.2", "ofcom"), ((1.0, 3.0), (5.0, 6.5)), notes=("untagged matrix: BT.709 assumed",))
    export.save_json(tmp_path / "a.json", [export.entry(found)], profiles())
    said = json.loads((tmp_path / "a.json").read_text())
    assert said["schema"] == "sparring.flash/1"
    assert said["sparring"] == sparring.__version__
    assert said["disclaimer"] == DISCLAIMER
    for standard in profiles():  # through JSON, which has no tuples
        expected = json.dumps(asdict(standard)).replace("Infinity", "null")  # no limit
        assert without_kind(said["standards"][standard.name]) == json.loads(expected)
    rules = said["standards"]["wcag2.2"]["rules"]
    kinds = [(rule["kind"], rule["change"]["kind"], rule["area"]["kind"]) for rule in rules]
    assert kinds == [("flash", "luminance", "window"), ("flash", "red", "window")]
    assert said["standards"]["ofcom"]["rules"][-1]["kind"] == "pattern"
    (clip,) = said["clips"]
    assert clip["verdicts"] == {"wcag2.2": False, "ofcom": False}
    assert clip["violations"] == json.loads(json.dumps([asdict(one) for one in found.violations]))
    assert clip["advisories"] == json.loads(json.dumps([asdict(one) for one in found.advisories]))
    assert len(clip["violations"]) == 4
    assert {one["rule"] for one in clip["advisories"]} == {"extended flash"}
    assert clip["notes"] == ["untagged matrix: BT.709 assumed"]
    assert (clip["size"], clip["frames"], clip["seconds"], clip["rate"]) == ([1920, 1080], 240, 8.0, 30.0)
    assert clip["passed"] is said["passed"] is False


def test_a_file_is_named_by_its_sha_256(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"pictures" * 100_000)
    made = export.entry(analysis(source=str(tmp_path / "clip.mp4")))
    assert made.sha256 == hashlib.sha256(b"pictures" * 100_000).hexdigest()
    assert export.document([made], ())["clips"][0]["sha256"] == made.sha256
    assert [export.digest(name) for name in ("array", str(tmp_path), "a\0b", "")] == [None] * 4


def test_a_part_is_never_a_pass() -> None:
    part = analysis(incidents=(), partial=PART)
    assert part.passed is None
    assert export.document([export.entry(part)], profiles("wcag2.2"))["passed"] is None
    assert '"passed": null' in export.as_json([export.entry(part)], ())
    suites = ElementTree.fromstring(export.as_junit([export.entry(part)], profiles("wcag2.2")))
    assert suites.attrib["errors"] == "1"
    assert suites.attrib["failures"] == "0"
    error = suites.find("testsuite/testcase/error")
    assert error is not None
    assert error.attrib["message"] == f"wcag2.2 could not be decided: {PART}"
    # What was seen before it broke off does not meet the standard, whatever follows.
    assert export.document([export.entry(analysis(partial=PART))], ())["passed"] is False


@pytest.mark.parametrize("several", list(itertools.product((True, False, None), repeat=3)))
def test_all_clips_together_pass_only_if_each_does(several: tuple[bool | None, ...]) -> None:
    kinds = {
        True: export.Entry("a", analysis(incidents=())),
        False: export.Entry("b", analysis()),
        None: export.Entry("c", error="cannot be read"),
    }
    found = export.overall([kinds[one] for one in several])
    assert (found is True) == all(several)
    assert (found is False) == (False in several)


def test_no_clip_at_all_is_no_pass() -> None:
    assert export.overall([]) is None


def test_an_entry_is_an_analysis_or_an_error() -> None:
    with pytest.raises(InputError, match="both or neither"):
        export.Entry("clip.mp4")
    with pytest.raises(InputError, match="both or neither"):
        export.Entry("clip.mp4", analysis(), "broken")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_null(value: float) -> None:
    found = analysis()
    odd = replace(found.violations[0], margin=value)
    said = json.loads(export.as_json([export.entry(replace(found, violations=(odd,)))], ()))
    assert said["clips"][0]["violations"][0]["margin"] is None
    found.series.margin["wcag2.2: general flash"][3] = value
    assert list(csv.DictReader(io.StringIO(export.as_csv(found))))[3]["wcag2.2: general flash margin"] == ""


def test_csv_is_the_series_frame_by_frame(tmp_path: Path) -> None:
    found = analysis(("wcag2.2", "nab-j"), rate=30000 / 1001)
    rng = np.random.default_rng(0)
    for area in found.series.area.values():
        area[:] = rng.random(len(area))
    export.save_csv(tmp_path / "a.csv", found)
    with open(tmp_path / "a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found.frames
    assert list(rows[0]) == [
        "seconds",
        *(f"{key} {c}" for key in found.series.count for c in ("count", "area", "margin")),
    ]
    assert len(rows[0]) == 1 + 3 * (2 + 5)
    assert np.allclose([float(row["seconds"]) for row in rows], found.series.seconds, rtol=0, atol=1e-6)
    for key in found.series.count:
        assert [int(row[f"{key} count"]) for row in rows] == found.series.count[key].tolist()
        assert np.allclose([float(row[f"{key} area"]) for row in rows], found.series.area[key], rtol=1e-5)
        assert np.allclose([float(row[f"{key} margin"]) for row in rows], found.series.margin[key], rtol=1e-5)


def test_csv_of_no_frame_is_a_heading() -> None:
    assert len(export.as_csv(analysis(frames=0)).splitlines()) == 1


def test_junit_counts_and_lists_the_incidents(tmp_path: Path) -> None:
    failing = analysis(("wcag2.2", "ofcom"), ((1.0, 3.0), (5.0, 6.5)), silent=("ofcom",))
    entries = [export.entry(failing), export.Entry("broken.mkv", error="no video stream")]
    export.save_junit(tmp_path / "a.xml", entries, profiles("wcag2.2", "ofcom"))
    root = ElementTree.parse(tmp_path / "a.xml").getroot()
    assert (root.tag, root.attrib["tests"], root.attrib["failures"], root.attrib["errors"]) == (
        "testsuites",
        "4",
        "1",
        "2",
    )
    first, second = root.findall("testsuite")
    assert [(s.attrib["tests"], s.attrib["failures"], s.attrib["errors"]) for s in (first, second)] == [
        ("2", "1", "0"),
        ("2", "0", "2"),
    ]
    wcag, ofcom = first.findall("testcase")
    assert [case.attrib["name"] for case in (wcag, ofcom)] == ["wcag2.2", "ofcom"]
    assert len(ofcom) == 0
    (failure,) = wcag
    assert failure.attrib["message"].startswith("does not meet wcag2.2: general flash 1.00–3.00 s, 9 transitions")
    assert "5.00–6.50 s" in failure.attrib["message"]
    assert failure.text is not None
    assert len(failure.text.splitlines()) == 2
    assert all("31.4 % of the window (WCAG 2.2 SC 2.3.1" in line for line in failure.text.splitlines())
    unread = second.find("testcase/error")
    assert unread is not None
    assert unread.attrib["message"] == "wcag2.2 could not be decided: no video stream"


def test_advisories_are_told_without_failing() -> None:
    found = analysis(("ofcom",), notes=("untagged",))
    only = replace(
        found, violations=(), verdicts={"ofcom": replace(found.verdicts["ofcom"], passed=True, violations=())}
    )
    root = ElementTree.fromstring(export.as_junit([export.entry(only)], profiles("ofcom")))
    assert (root.attrib["failures"], root.attrib["errors"]) == ("0", "0")
    said = root.findtext("testsuite/testcase/system-out")
    assert said is not None
    assert "advisory: extended flash 1.00–3.00 s" in said
    assert "note: untagged" in said


@pytest.mark.parametrize(
    "name", ["a<b>&\"'.mp4", "bell\a\x1b[31m.mp4", "\udcff\udc80.mkv", "line\nbreak.mp4", "日本.mp4"]
)
def test_names_made_of_anything_are_written(name: str) -> None:
    entry = export.entry(analysis(source=name, partial=f"{name} ends early"))
    root = ElementTree.fromstring(export.as_junit([entry], profiles("wcag2.2")).encode())
    suite = root.find("testsuite")
    assert suite is not None
    assert suite.attrib["name"] == escaped(name)
    assert escaped(name).isprintable()
    assert json.loads(export.as_json([entry], ()))["clips"][0]["source"] == name


def test_nothing_is_called_safe_or_certified() -> None:
    entries = [
        export.entry(analysis(("wcag2.2", "ofcom"))),
        export.entry(analysis(incidents=())),
        export.entry(analysis(incidents=(), partial=PART)),
    ]
    said = export.as_json(entries, profiles()) + export.as_csv(analysis())
    said += export.as_junit(entries, profiles("wcag2.2"))
    said += " ".join(f"{n.what} {n.value} {n.clause}" for one in profiles() for n in numbers(one))
    assert not {"safe", "certif"} & {word for word in ("safe", "certif") if word in said.lower()}


# --------------------------------------------------------------------------------------------------------- in words


def test_several_standards_are_one_sentence() -> None:
    assert verdicts(analysis(incidents=())) == "meets wcag2.2"
    mixed = analysis(("wcag2.2", "ofcom", "nab-j"), silent=("ofcom",))
    assert verdicts(mixed) == "does not meet wcag2.2 and nab-j; meets ofcom"
    assert verdicts(analysis(incidents=(), partial=PART)) == "wcag2.2 could not be decided"


def test_incidents_are_told_in_the_measure_of_their_rule() -> None:
    found = analysis(("wcag2.2", "ofcom"), ((0.366, 1.933),))
    window, screen = (next(v for v in found.violations if v.standard == name) for name in ("wcag2.2", "ofcom"))
    standards = profiles()
    assert (
        incident(window, rule_of(standards, window)) == "0.37–1.93 s, 9 transitions in a second, 31.4 % of the window"
    )
    assert incident(screen, rule_of(standards, screen)).endswith("31.4 % of the screen")
    striped = replace(screen, rule="pattern", count=8)
    assert incident(striped, rule_of(standards, striped)) == "0.37–1.93 s, 8 pairs of stripes, 31.4 % of the screen"
    assert rule_of((), window) is None
    assert incident(window).endswith("of the picture")


@pytest.mark.parametrize(
    ("seconds", "decimals", "text"),
    [
        (0, 0, "0:00"),
        (59.99, 0, "1:00"),
        (61.5, 2, "1:01.50"),
        (3723.0, 0, "1:02:03"),
        (59.996, 2, "1:00.00"),
        (-5, 0, "-0:05"),
    ],
)
def test_the_clock_carries_what_it_rounds(seconds: float, decimals: int, text: str) -> None:
    assert clock(seconds, decimals) == text


def test_spans_beyond_a_minute_are_clock_times() -> None:
    assert span(0.366, 1.933) == "0.37–1.93 s"
    assert span(59, 61) == "0:59.00–1:01.00"


def test_the_tally_names_what_there_is() -> None:
    assert tally([True, True, False, None]) == "2 meet, 1 does not, 1 could not be decided"
    assert tally([True]) == "1 meets"


@pytest.mark.parametrize("kind", [Standard, Flash, Pattern, Luminance, Red, Screen, Window])
def test_no_number_of_a_standard_is_left_out(kind: type) -> None:
    """What has no words of its own is a name, a clause, a part, or told with another number."""
    fields = set(kind.__dataclass_fields__)  # type: ignore[attr-defined]
    silent = {"name", "title", "rules", "change", "area", "clause", "advisory", "strict", "at_least"}
    assert {name for (owner, name) in _PHRASES if owner is kind} == fields - silent


def test_the_numbers_of_wcag_are_those_of_its_text() -> None:
    (standard,) = profiles("wcag2.2")
    told = {(one.of, one.what): one.value for one in numbers(standard)}
    assert told["general flash", "transitions allowed"] == "6"
    assert told["general flash", "luminance changes by"] == "0.1 of white or more"
    assert told["general flash", "the darker state is below"] == "0.8 of white"
    assert told["general flash", "width of the window"] == "341 CSS pixels"
    assert told["general flash", "share of any window"] == "more than 25 %"
    assert told["red flash", "change in CIE 1976 u'v'"] == "more than 0.2"
    clauses = {one.clause for one in numbers(standard)}
    assert all(rule.clause in clauses and rule.area.clause in clauses for rule in standard.flashes)

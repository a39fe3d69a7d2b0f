"""The figures of the pages: each is the one that its command gave and that is kept beside the benchmarks."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import claims, figures
from benchmarks.figures import RESULTS, Figure, differences, read

KEPT = {path.stem: read(path.stem) for path in sorted(RESULTS.glob("*.json")) if path.stem != "mutation_equivalent"}
PAGES = list(claims.pages())
TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
# Tables that explain and measure nothing; the numbers in them are thresholds and defaults.
EXPLAIN = {"check", "verdict", "parameter", "rule", "trap", "", "field", "exit code"}


def table(*rows: tuple[str, ...], kinds: tuple[figures.Kind, ...]) -> Figure:
    return Figure("some", "", tuple("abcdef"[: len(kinds)]), rows, kinds)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_shows_what_is_kept(page: Path) -> None:
    text = page.read_text()
    names = claims.marked(text)
    assert names <= set(KEPT), "a mark without a kept figure"
    assert claims.rendered(text, {name: figure for name in names if (figure := KEPT[name])}) == text


def test_what_is_kept_says_when_where_and_by_what_and_is_shown() -> None:
    shown = set().union(*(claims.marked(page.read_text()) for page in PAGES))
    made = {name: claim.command for claim in claims.CLAIMS for name in claim.figures}
    for name, figure in KEPT.items():
        assert figure is not None
        assert figure.name == name
        assert name in shown
        assert made[name].startswith(figure.command)
        assert re.fullmatch(r"20\d\d-\d\d-\d\d, [0-9a-f]{7,}", figure.measured)
        assert all(len(row) == len(figure.header) == len(figure.kinds) for row in figure.rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_table_of_measured_figures_stands_outside_a_mark(page: Path) -> None:
    for found in TABLE.findall(claims.MARK.sub("", page.read_text())):
        first = found.split("|")[1].strip()
        cells = {cell.strip() for cell in found.replace("\n", "|").split("|")}
        measured = {cell for cell in cells if re.fullmatch(r"[\d.,]+( %|)( → .*)?( \(.*\))?", cell)}
        assert first in EXPLAIN or len(measured) < 3, f"{page.name}: {first}, {sorted(measured)[:5]}"


def test_accuracies_agree_within_three_points() -> None:
    kept = table(("x", "50.0"), ("y", "60.0 (1.0–2.0)"), kinds=("text", "accuracy"))
    assert differences(kept, replace(kept, rows=(("x", "53.0"), ("y", "57.0 (4.0–2.0)")))) == []
    assert len(differences(kept, replace(kept, rows=(("x", "53.1"), ("y", "60.0 (1.0–2.0)"))))) == 1
    assert len(differences(kept, replace(kept, rows=(("x", "50.0"), ("y", "60.0 (1.0–5.1)"))))) == 1
    assert len(differences(kept, replace(kept, rows=(("x", "50.0"), ("y", "60.0 (1.0)"))))) == 1  # a number is missing


def test_accuracies_that_stood_clearly_apart_keep_their_order() -> None:
    kept = table(("x", "50.0"), ("y", "54.0"), ("z", "54.1"), kinds=("text", "accuracy"))
    assert differences(kept, replace(kept, rows=(("x", "50.0"), ("y", "54.1"), ("z", "54.0")))) == []  # a tie
    swapped = differences(kept, replace(kept, rows=(("x", "52.6"), ("y", "52.5"), ("z", "53.0"))))
    assert swapped == ["some, b: x and y have changed places"]


def test_counts_and_words_agree_exactly_and_times_are_left_alone() -> None:
    kept = table(("x", "1,000", "5 s", "yes"), kinds=("text", "count", "time", "text"))
    assert differences(kept, replace(kept, rows=(("x", "1,000", "9 s", "yes"),))) == []
    assert len(differences(kept, replace(kept, rows=(("x", "1,001", "5 s", "yes"),)))) == 1
    assert len(differences(kept, replace(kept, rows=(("x", "1,000", "5 s", "no"),)))) == 1
    assert len(differences(kept, replace(kept, rows=()))) == 1


def test_a_figure_is_read_as_it_was_written_and_older_formats_are_refused(tmp_path: Path) -> None:
    figure = table(("x", "50.0"), kinds=("text", "accuracy"))
    figures.write(figure, tmp_path)
    assert read("some", tmp_path) == figure
    assert read("other", tmp_path) is None
    path = tmp_path / "some.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 0}))
    with pytest.raises(ValueError, match="another format"):
        read("some", tmp_path)


def test_benchmarks_give_figures_only_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(figures.FOLDER, raising=False)
    figures.sentence_of("said", "55 %", "accuracy")
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv(figures.FOLDER, str(tmp_path / "here"))
    figures.sentence_of("said", "55 %", "accuracy")
    found = read("said", tmp_path / "here")
    assert found is not None
    assert (found.shown, found.rows) == ("55 %", (("55 %",),))

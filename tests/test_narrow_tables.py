"""Tables where there is little room: figures are whole, names break, and a terminal obeys no name."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.cells import cell_len
from rich.console import Console

import sparring as sp
from models import linear
from sparring.cli.meter import outcome
from sparring.cli.terminal import Terminal
from sparring.evaluation import Rung
from sparring.report.table import compare, curve, findings, table, text
from typed import Type

LONG = "PGD(steps=100, step_size=None, objective='margin', restarts=10, random_start=True, n_targets=9)"
UNBROKEN = "a_name_without_a_single_place_to_break_it_at_in_it_of_more_than_eighty_letters_all_in_all"
WIDE = "敵対的な例を探す攻撃手法の名前がとても長い場合の表示"
WIDTHS = (40, 41, 55, 80, 81, 100, 160)


def stage(name: str, accuracy: float, seconds: float, attack: str | None = "PGD()") -> dict[str, Any]:
    return {
        "name": name, "kind": "attack" if attack else "clean", "attack": attack, "robust_accuracy": accuracy,
        "interval": [accuracy - 0.01, min(1, accuracy + 0.02)], "reason": None, "broke": 1_234_567,
        "forwards": 5_000_000_000, "backwards": 4_000_000_000, "seconds": seconds, "no_gradient": 0, "examples": 9,
        "alone": {"robust_accuracy": accuracy - 0.2},
    }  # fmt: skip


def records(*names: str, individual: bool = False, **more: Any) -> dict[str, Any]:
    """An evaluation whose every figure is another."""
    stages = [stage(name, 0.913 - 0.017 * at, 98_765.4 - 1111.1 * at) for at, name in enumerate(names)]
    return {
        **stage("", 0.123, 987_654.3), "examples": 10_000, "individual": individual, "verdict": "reliable",
        "threat": {"norm": "linf", "radius": 8 / 255, "mask": None},
        "table": [stage("clean", 1.0, 0.1, None), *stages], **more,
    }  # fmt: skip


def assert_fits(told: str, width: int) -> None:
    assert max(map(cell_len, told.splitlines())) <= width
    assert "…" not in told


def percents(told: str) -> list[str]:
    return re.findall(r"\d+\.\d %", told)


# Figures.


@pytest.mark.parametrize("individual", [False, True], ids=["in turn", "alone too"])
@pytest.mark.parametrize("width", WIDTHS)
def test_accuracy_and_time_are_whole_at_any_width(width: int, individual: bool) -> None:
    asked = records("APGD-CE", LONG, UNBROKEN, WIDE, individual=individual)
    told = text(table(asked), width)
    assert_fits(told, width)
    for row in [*asked["table"], asked]:
        wanted = f"{row['robust_accuracy']:.1%}".replace("%", " %"), f"{row['seconds']:.1f} s"
        assert sum(all(figure in line for figure in wanted) for line in told.splitlines()) == 1, wanted
    assert {"robust", "time"} <= set(told.split())


@pytest.mark.parametrize("name", [LONG, UNBROKEN, WIDE])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_long_name_breaks_and_loses_no_letter(width: int, name: str) -> None:
    told = text(table(records(name)), width).splitlines()
    first = next(at for at, line in enumerate(told) if "91.3 %" in line)
    last = next(at for at, line in enumerate(told) if "worst case" in line)
    figures = told[first].index("91.3 %")
    pieces = [told[first][:figures], *told[first + 1 : last]]
    assert "".join("".join(pieces).split()) == "".join(name.split())


def test_what_matters_least_is_left_out_first() -> None:
    def headings(width: int) -> list[str]:
        asked = records("APGD-CE")
        known = "robust", "95 % interval", "broke", "forwards", "backwards", "time"
        line = next(line for line in text(table(asked), width).splitlines() if "robust" in line)
        return [one for one in known if one in line]

    assert headings(100) == ["robust", "95 % interval", "broke", "forwards", "backwards", "time"]
    assert headings(40) == ["robust", "time"]
    for wide, narrow in zip(range(100, 40, -1), range(99, 39, -1), strict=True):
        assert set(headings(narrow)) <= set(headings(wide))


@pytest.mark.parametrize("width", WIDTHS)
def test_of_models_side_by_side_each_figure_is_whole_and_below_its_name(width: int) -> None:
    names = ["natural", "AT", UNBROKEN, WIDE, "a network of two words", "distilled"]
    shares = [0.111, 0.222, 0.333, 0.444, 0.555, 0.666]
    columns = {
        name: {**records("APGD-CE"), "robust_accuracy": share} for name, share in zip(names, shares, strict=True)
    }
    extra = ["C&W: mean L2", *(f"{share:.2f}" for share in shares)]
    told = text(compare(columns, [extra]), width)
    assert_fits(told, width)
    worst = [percents(line) for line in told.splitlines() if "worst case" in line]
    assert [one for line in worst for one in line] == [f"{100 * share:.1f} %" for share in shares]
    for word in ("accuracy", "C&W"):  # each of the tables has the names of its rows
        assert told.count(word) == len(worst)
    assert (len(worst) == 1) == (width == 160)


@pytest.mark.parametrize("width", [30, *WIDTHS])
def test_a_model_stands_above_its_own_figures(width: int) -> None:
    columns = {f"net{n}": {**records("PGD"), "robust_accuracy": n / 10} for n in range(1, 8)}
    told = text(compare(columns), width).splitlines()
    found: dict[str, str] = {}
    above: list[re.Match[str]] = []
    for line in told:
        above = list(re.finditer(r"net\d", line)) or above
        if line.strip().startswith("worst case"):
            below = list(re.finditer(r"\d+\.\d %", line))
            assert [one.end() for one in below] == [one.end() for one in above]  # at the right edge of one column
            found |= {one.group(): two.group() for one, two in zip(above, below, strict=True)}
    assert found == {f"net{n}": f"{10 * n}.0 %" for n in range(1, 8)}


@pytest.mark.parametrize("width", WIDTHS)
def test_a_curve_is_whole(width: int) -> None:
    points = [{"eps": n / 255, "robust_accuracy": 0.9 - n / 20, "interval": [0.1, 0.95]} for n in range(17)]
    told = text(curve(records(curve=points)), width)
    assert_fits(told, width)
    assert percents(told) == [f"{90 - 5 * n:.1f} %" for n in range(17)]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_training_shows_pgd_and_time(width: int) -> None:
    record = {
        "loss": 1.2345, "accuracy": 0.711, "clean_accuracy": 0.888, "robust_accuracy": 0.456, "seconds": 12_345.6,
    }  # fmt: skip
    history = [{**record, "epoch": 1.0}, {**record, "epoch": 120.0, "robust_accuracy": 0.399}]
    told = text(outcome(SimpleNamespace(history=history, epoch=1.0)), width)  # type: ignore[arg-type]
    assert_fits(told, width)
    rows = {line.split()[0]: line for line in told.splitlines() if "%" in line}
    assert rows["kept"].endswith("45.6 %   12345.6 s")
    assert rows["last"].endswith("39.9 %   24691.2 s")


@pytest.mark.parametrize("width", WIDTHS)
def test_an_audit_keeps_every_word_of_what_a_check_means(width: int) -> None:
    meaning = "over a quarter of the radius the margin rises along the gradient on 100.0% of the examples"
    one = {"name": "G4 gain", "statistic": 0.5, "threshold": 0.05, "flagged": True, "meaning": meaning}
    told = text(findings({"findings": [one]}), width)
    assert_fits(told, width)
    lines = told.splitlines()
    column = next(line.index("meaning") for line in lines if "meaning" in line)
    begins = next(at for at, line in enumerate(lines) if "G4 gain" in line)
    assert "".join("".join(line[column:] for line in lines[begins:]).split()) == "".join(meaning.split())


# The command line.


PIPED = """
import torch, sparring as sp
from sparring.cli.running import tell
from sparring.cli.terminal import Terminal
from sparring.evaluation import Rung
torch.manual_seed(0)
x = torch.rand(8, 4)
net = torch.nn.Linear(4, 3)
plan = [Rung("a name longer than the room that a table has " * 3, sp.FGSM()), sp.PGD(steps=2)]
result = sp.evaluate(net, (x, net(x).argmax(1)), sp.Linf(0.05), plan)
tell(result, Terminal())
print("exact", *(row["robust_accuracy"] for row in result.table if row["robust_accuracy"] is not None))
"""


def test_in_a_pipe_a_table_has_eighty_columns_and_every_figure() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    done = subprocess.run(
        [sys.executable, "-c", PIPED], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120,
        env=environment | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = done.stdout[: done.stdout.index("Read as")]
    assert_fits(shown, 80)
    exact = [float(one) for one in done.stdout.splitlines()[-1].split()[1:]]
    assert percents(shown)[:-1] == [f"{100 * one:.1f} %" for one in exact]
    for line in shown.splitlines():
        if "%" in line and "interval" not in line:
            assert re.search(r"\d+\.\d s\s*$", line)


@pytest.mark.parametrize("columns", [40, 80])
def test_the_command_line_fits_the_terminal(type_: Type, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    said = type_("evaluate --model zoo:digits-mlp --threat linf:0.02 --plan quick --limit 6 --no-save")
    shown = said.out[: said.out.index("Read as")]
    assert_fits(shown, columns)
    assert {"robust", "time"} <= set(shown.split())
    for name in ("clean", "worst case"):
        assert re.search(rf"^ {name} +\d+\.\d % .*\d+\.\d s *$", shown, re.MULTILINE)


# Names that a terminal would obey.

EVIL = "a\x1b[31mred\x07\x9b2J\u202eb"
SHOWN = r"a\x1b[31mred\x07\x9b2J\u202eb"


def assert_plain(told: str) -> None:
    assert [one for one in told if one != "\n" and not one.isprintable()] == []


def test_names_of_attacks_and_models_are_shown_and_not_obeyed() -> None:
    asked = records(EVIL, "two\nlines", "\udcff")
    for told in (text(table(asked), 160), text(compare({EVIL: asked}), 160)):
        assert_plain(told)
        assert SHOWN in told.replace("\n", "") or SHOWN[:20] in told
    assert r"two\nlines" in text(table(asked), 160)
    reasons = {**asked, "table": [{**stage(EVIL, 0.5, 1.0), "robust_accuracy": None, "reason": "none was left"}]}
    told = text(table(reasons), 160)
    assert_plain(told)
    assert f"none was left: {SHOWN}" in told


def test_a_printed_result_is_plain_text() -> None:
    x = torch.rand(8, 4, generator=torch.Generator().manual_seed(0))
    net = linear(4, 3)
    y = net(x).argmax(1)
    plan = [Rung(EVIL, sp.FGSM()), Rung("one\ntwo", sp.PGD(steps=2)), Rung("last\r", sp.PGD(steps=3))]
    for radius in (1e-4, 5.0):  # in the first all of them run, in the second those to come find nothing standing
        told = str(sp.evaluate(net, (x, y), sp.Linf(radius), plan))
        assert_plain(told)
        assert SHOWN in told
        assert r"one\ntwo" in told
        assert r"last\r" in told


def test_the_command_line_obeys_no_name(type_: Type, tmp_path: Path) -> None:
    (tmp_path / f"{EVIL}.py").write_text(
        "import torch\n\n\nclass Net(torch.nn.Linear):\n    pass\n\n\nNet.__name__ = 'Net\\x1b[5m'\n\n\n"
        "def make():\n    return Net(4, 3)\n"
    )
    drawn = np.random.default_rng(0).random((6, 4), dtype=np.float32)
    np.savez(tmp_path / f"{EVIL}.npz", x=drawn, y=np.arange(6) % 3)
    asked = f"--model {shlex.quote(EVIL)}.py:make --data {shlex.quote(EVIL)}.npz --threat linf:0.1"
    said = type_(f"evaluate {asked} --plan quick --out {shlex.quote(EVIL)}")
    assert_plain(said.out + said.err)
    assert said.code in (0, 3), said.err
    assert r"Net\x1b[5m" in said.out
    assert f"{SHOWN}.npz" in said.out
    assert f"{SHOWN}/: " in said.out
    assert (tmp_path / EVIL / "results.json").exists()  # it is that folder, whatever is shown of it
    said = type_(f"audit {asked} --out {shlex.quote(EVIL)}2 --quiet")
    assert_plain(said.out + said.err)
    assert f"{SHOWN}2/: audit.json" in said.out


@pytest.mark.parametrize(
    "line",
    [
        "evaluate --model {0} --threat linf:0.1",
        "evaluate --model zoo:digits-mlp --threat {0}",
        "evaluate --model zoo:digits-mlp --threat linf:0.1 --data {0}",
        "evaluate --model zoo:digits-mlp --threat linf:0.1 --weights {0}",
        "evaluate --model zoo:digits-mlp --threat linf:0.1 --plan {0}",
        "evaluate --config {0}.toml --threat linf:0.1",
        "merge {0} --out other",
        "train --recipe {0}",
        "train --model zoo:digits-mlp --defense {0}",
        "list {0}",
        "flash check {0}.mp4",
    ],
)
def test_nor_does_an_error(type_: Type, line: str) -> None:
    said = type_(line.format(shlex.quote(EVIL)))
    assert said.code == 2
    assert_plain(said.out + said.err)


@pytest.mark.parametrize("line", ["{0}", "evaluate --{0}", "evaluate --threat linf:1 --limit {0}", "flash fix --{0}"])
def test_nor_does_a_word_that_is_no_option(type_: Type, line: str) -> None:
    said = type_(line.format(shlex.quote("a\x1b[31mred\x07")))
    assert said.code == 2
    assert_plain(said.out + said.err)


def test_nor_what_a_network_says_when_it_fails(type_: Type, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(f"def make():\n    raise ValueError({EVIL!r})\n")
    said = type_("evaluate --model net.py:make --threat linf:0.1 --no-save")
    assert said.code == 4
    assert_plain(said.out + said.err)
    assert SHOWN in said.err


@pytest.mark.parametrize("note", [EVIL, "[red]x[/green]", "a\nb"])
def test_a_live_line_shows_a_name_as_it_is(note: str) -> None:
    sink = io.StringIO()
    console = Console(file=sink, force_terminal=True, color_system=None, width=120)
    with Terminal(errors=console).progress("evaluating", 2) as update:
        update(1, note)
        time.sleep(0.15)
    told = re.sub(r"\x1b\[[0-9?]*[a-zA-Z]", "", sink.getvalue()).replace("\r", "")  # what rich itself moves by
    assert_plain(told)
    assert {EVIL: SHOWN, "a\nb": r"a\nb"}.get(note, note) in told

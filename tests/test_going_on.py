"""Stopping, going on, and saying what is asked in a file: on the command line as in Python, each in its own words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from typed import Type

NET = """
import os, torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.calls = nn.Linear(64, 10), 0
    def forward(self, x):
        self.calls += 1
        if os.path.exists("interrupt") and self.calls > int(open("interrupt").read()):
            raise KeyboardInterrupt
        return self.layer(x.flatten(1))
"""
EVALUATE = "evaluate --model net.py:Net --threat linf:0.1 --plan quick --limit 30 --batch-size 10 --out r"
TRAIN = "train --model net.py:Net --data digits --defense standard --epochs 3 --limit 200 --out t"


@pytest.fixture(autouse=True)
def _network(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)


class Stopping(nn.Module):
    """A network during which somebody presses Ctrl-C."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.layer, self.after = nn.Linear(64, 10), after

    def forward(self, x: Tensor) -> Tensor:
        self.after -= 1
        if self.after < 0:
            raise KeyboardInterrupt
        return self.layer(x.flatten(1))


def digits(limit: int = 30) -> tuple[Tensor, Tensor]:
    from sparring.data import load

    found = load("digits", limit=limit)
    return found.x, found.y


# Ctrl-C.


def test_ctrl_c_says_how_much_is_finished_in_python_and_on_the_command_line(type_: Type, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as stop:
        sp.evaluate(Stopping(120), digits(), sp.Linf(0.1), "quick", batch_size=10, out=tmp_path / "p")
    (note,) = stop.value.__notes__
    done, _, how = note.partition("; ")
    finished = 10 * len(list((tmp_path / "p" / "blocks").glob("[0-9]*")))
    assert done == f"{finished} of 30 examples are finished in {tmp_path / 'p'}"
    assert how == "call again with resume=True to go on"

    Path("interrupt").write_text("120")
    said = type_(EVALUATE)
    assert said.code == 130
    assert "of 30 examples are finished in r" in said.err
    assert "go on with: sparring evaluate --model net.py:Net" in said.err
    assert "resume=" not in said.err  # which is how one says it in Python


def test_so_it_does_in_training(type_: Type, tmp_path: Path) -> None:
    net = Stopping(20)
    with pytest.raises(KeyboardInterrupt) as stop:
        sp.train(net, digits(), sp.defenses.Standard(), epochs=9, batch_size=10, out=tmp_path / "p")
    (note,) = stop.value.__notes__
    assert " of 9 epochs are finished in " in note
    assert note.endswith("; call again with resume=True to go on")

    Path("interrupt").write_text("12")
    said = type_(TRAIN)
    assert said.code == 130
    assert "of 3 epochs are finished in t" in said.err
    assert "sparring train --out t" in said.err
    assert "resume=" not in said.err


def test_without_a_folder_nothing_is_saved_and_it_says_so(type_: Type) -> None:
    with pytest.raises(KeyboardInterrupt) as stop:
        sp.evaluate(Stopping(120), digits(), sp.Linf(0.1), "quick", batch_size=10)
    assert any(note.endswith("finished, none saved") for note in stop.value.__notes__)
    Path("interrupt").write_text("120")
    said = type_(EVALUATE.replace("--out r", "--no-save"))
    assert said.code == 130
    assert "none saved" in said.err
    assert "go on" not in said.err


# Going on.


def test_the_folder_alone_goes_on_with_ones_own_model(type_: Type) -> None:
    assert type_(TRAIN.replace("--out t", "--out whole")).code == 0
    Path("interrupt").write_text("12")
    assert type_(TRAIN).code == 130
    Path("interrupt").unlink()
    said = type_("train --out t")
    assert said.code == 0, said.err
    from safetensors.torch import load_file

    one, other = (load_file(Path(folder) / "model.safetensors") for folder in ("whole", "t"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_code_that_is_another_now_is_not_run_unasked(type_: Type) -> None:
    Path("interrupt").write_text("12")
    assert type_(TRAIN).code == 130
    Path("interrupt").unlink()
    Path("net.py").write_text(NET + "\nopen('ran', 'w')\n")
    said = type_("train --out t")
    assert said.code == 2
    assert "whose code is another now" in said.err
    assert not Path("ran").exists()
    moved = Path("t/net.py")
    moved.write_text(NET)
    text = Path("t/recipe.toml").read_text().replace('"net.py:Net"', '"t/net.py:Net"')
    Path("t/recipe.toml").write_text(text)
    assert type_("train --out t").code == 2


@pytest.mark.parametrize("line", [EVALUATE, TRAIN])
def test_going_on_does_not_rewrite_who_began(line: str, type_: Type) -> None:
    Path("interrupt").write_text("120" if line == EVALUATE else "12")
    assert type_(line).code == 130
    Path("interrupt").unlink()

    def who() -> object:
        if line == TRAIN:
            return tomllib.loads(Path("t/recipe.toml").read_text())["kept"]["command"]
        told = json.loads(Path("r/run.json").read_text())
        return [told[name] for name in ("command", "started", "versions", "run")]

    before = who()
    assert line.split()[0] in str(before)
    assert type_(f"{line} --quiet").code in (0, 3)
    assert who() == before
    assert type_(line).code in (0, 3)  # and once more, finished
    assert who() == before


# Small things that one expects.


def test_short_help_version_and_completion(type_: Type) -> None:
    assert type_("-V").out == type_("--version").out == f"sparring {sp.__version__}\n"
    assert type_("-h").out == type_("--help").out
    assert "Exit codes" in type_("-h").out
    assert type_("evaluate -h").out == type_("evaluate --help").out != type_("-h").out
    assert "--install-completion" in type_("-h").out
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    line = [sys.executable, "-c", "from sparring.cli import main; main()", "--show-completion", "bash"]
    done = subprocess.run(line, capture_output=True, text=True, env=environment)
    assert "_SPARRING_COMPLETE" in done.stdout


# A file of options.


def test_options_come_from_a_file_and_the_line_wins(type_: Type) -> None:
    Path("e.toml").write_text(
        'model = "net.py:Net"\nthreat = "linf:0.1"\nplan = "quick"\nlimit = 20\nbatch-size = 10\nno_save = true\n'
        "bounds = [0, 1]\nseed = 3\nquiet = true\n"
    )
    typed = type_(
        "evaluate --model net.py:Net --threat linf:0.1 --plan quick --limit 20 --batch-size 10 --no-save --seed 3 -q"
    )
    assert type_("evaluate --config e.toml") == typed
    assert type_("evaluate --config e.toml --limit 10") != typed
    by_json = type_("evaluate --config e.toml --json --threat linf:0.05")
    assert json.loads(by_json.out)["threat"]["radius"] == 0.05
    assert json.loads(by_json.out)["seed"] == 3


def test_paths_in_a_file_are_read_from_where_one_stands(type_: Type) -> None:
    Path("settings").mkdir()
    Path("settings/e.toml").write_text('model = "net.py:Net"\nthreat = "linf:0.1"\nplan = "quick"\nout = "made"\n')
    assert type_("evaluate --config settings/e.toml --limit 8").code in (0, 3)
    assert Path("made/run.json").is_file()
    assert not Path("settings/made").exists()
    assert type_("evaluate --config settings/e.toml --limit 8 --out other").code in (0, 3)
    assert Path("other/run.json").is_file()
    assert "contradict each other" in type_("evaluate --config settings/e.toml --no-save").err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('modle = "net.py:Net"\n', "modle is unknown. Did you mean model?"),
        ("[threat]\nnorm = 1\n", "threat is a table"),
        ("threat = \n", "cannot be read"),
        ("threat = 3\n", "threat '3' is unknown"),
        ("threat = true\n", "threat is True; give text in quotes"),
        ('limit = "many"\n', "limit is 'many'; give a whole number"),
        ("limit = 1.5\n", "limit is 1.5; give a whole number"),
        ("limit = true\n", "limit is True; give a whole number"),
        ("limit = 0\n", "--limit"),
        ("batch-size = 4\nbatch_size = 5\n", "batch_size is there twice"),
        ("seed = 1e3\n", "seed is 1000.0; give a whole number"),
        ("seed = 18446744073709551616\n", "--seed is 18446744073709551616"),
        ("require = true\n", "require is True; give a number"),
        ("require = nan\n", "--require"),
        ('quiet = "false"\n', "quiet is 'false'; give true or false"),
        ("quiet = 1\n", "quiet is 1; give true or false"),
        ("bounds = [0, true]\n", "bounds is [0, True]; give text in quotes, a number or a list of numbers"),
        ("bounds = [0, 1, 2]\n", "--bounds is '0,1,2'; give 2 numbers"),
        ("mean = []\n", "mean is []"),
        ("out = 1979-05-27\n", "out is datetime.date(1979, 5, 27)"),
        ('out = "a\\u0000b"\n', "out is 'a\\x00b'"),
        ('config = "other.toml"\n', "config is unknown"),
    ],
)
def test_a_file_with_what_is_no_option_is_refused(text: str, words: str, type_: Type) -> None:
    rest = {"model": "net.py:Net", "threat": "linf:0.1"}
    lines = [f'{name} = "{value}"\n' for name, value in rest.items() if name not in text]
    Path("e.toml").write_text("".join(lines) + text)
    said = type_("evaluate --config e.toml --no-save")
    assert said.code == 2
    assert words in " ".join(said.err.split())
    assert "Traceback" not in said.err


def test_a_file_that_is_not_there_is_told(type_: Type) -> None:
    said = type_("evaluate --config absent.toml --no-save")
    assert said.code == 2
    assert "absent.toml" in said.err

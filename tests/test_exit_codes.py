"""Whose fault it was, by exit code: 4 the caller's own code, 2 what was typed, 70 ours; 1 is for gates alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring.errors import InputError
from sparring.training import Cosine
from typed import Said, Type

NETS = """
import sys, torch
from torch import nn
import os

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.calls = nn.Linear(64, 10), 0
    def forward(self, x):
        return self.layer(x.flatten(1))

class Raises(Net):
    def forward(self, x):
        raise ValueError("my own\\nwords")

class Later(Net):
    def forward(self, x):
        self.calls += 1
        if self.calls > 3:
            return self.layer(x.flatten(1)) @ torch.ones(3)
        return super().forward(x)

class Leaves(Net):
    def forward(self, x):
        sys.exit(0)

class Back(Net):
    class Identity(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()
        @staticmethod
        def backward(ctx, g):
            raise RuntimeError("on the way back")
    def forward(self, x):
        return super().forward(self.Identity.apply(x))

class Odd(Exception):
    __slots__ = ()
    def __str__(self):
        raise ValueError("nothing to say")

class Strange(Net):
    def forward(self, x):
        raise Odd

class Typer(Net):
    def forward(self, x):
        import typer
        raise typer.Exit(0)

class State(Net):
    def state_dict(self, *any, **named):
        raise LookupError("no state")

class Switch(Net):
    def train(self, mode=True):
        sys.exit(0)

def leaves():
    sys.exit(0)

def raises():
    raise KeyError("no such luck")

def asserts():
    assert False

def needs(width):
    return Net()

nothing = 3
"""
LINE = "evaluate --threat linf:0.1 --plan quick --limit 8 --no-save -q --model net.py:"


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETS)
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    (tmp_path / "failing.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "wrong.py").write_text("def net(:\n")


def assert_told(said: Said, words: list[str]) -> None:
    """One line of error, with all the words."""
    lines = [line for line in said.err.splitlines() if line.startswith("error")]
    assert len(lines) == 1, said.err
    assert "Traceback" not in said.err + said.out
    for word in words:
        assert word in lines[0]


# The caller's own code: 4.


OWN = {
    "net.py:Raises": [
        "Raises",
        "ValueError: my own words",
        "given (4, 1, 8, 8) float32",
        "net.py:16 in forward",
        'raise ValueError("my own',
    ],
    "net.py:Later": ["Later", "RuntimeError", "net.py:22 in forward"],
    "net.py:Leaves": ["the network Leaves, given (4, 1, 8, 8) float32, left the program", "net.py:27 in forward"],
    "net.py:Back": ["the backward pass of the network Back, given (", "on the way back", "net.py:36 in backward"],
    "net.py:Strange": ["raised Odd", "net.py:47 in forward: raise Odd"],
    "net.py:Typer": ["the network Typer, given (4, 1, 8, 8) float32, raised Exit", "net.py:52 in forward"],
    "net.py:State": ["your own code raised LookupError: no state", "net.py:56 in state_dict"],
    "net.py:Switch": ["your own code left the program", "net.py:60 in train"],
    "net.py:leaves": ["left the program", "net.py:63 in leaves"],
    "net.py:raises": ["KeyError", "no such luck", "net.py:66 in raises"],
    "net.py:needs": ["TypeError", "width"],
    "net.py:asserts": ["AssertionError", "net.py:69 in asserts"],
    "leaving.py:net": ["left the program", "leaving.py:2"],
    "failing.py:net": ["ModuleNotFoundError", "nothing_of_that_name", "failing.py:1"],
    "wrong.py:net": ["SyntaxError", "wrong.py"],
}


@pytest.mark.parametrize("model", OWN)
def test_what_the_callers_own_code_raises_is_4_in_one_line(model: str, type_: Type) -> None:
    said = type_(LINE.replace("net.py:", model))
    assert said.code == 4
    assert_told(said, [*OWN[model], "--traceback shows all of it"])


@pytest.mark.parametrize(
    "command",
    [
        "attack --attack pgd --threat linf:0.1",
        "audit --threat linf:0.1 --no-save",
        "train --defense standard --data digits --epochs 1 --out t",
    ],
)
def test_so_it_is_in_every_command(command: str, type_: Type) -> None:
    for model in ("net.py:Raises", "net.py:raises", "net.py:Leaves"):
        said = type_(f"{command} --model {model}")
        assert said.code == 4, (command, model, said.err)
        assert "net.py:" in said.err


@pytest.mark.parametrize("model", ["net.py:Leaves", "net.py:leaves", "leaving.py:net", "net.py:Typer", "net.py:Switch"])
def test_leaving_with_0_passes_no_gate(model: str, type_: Type) -> None:
    said = type_(LINE.replace("net.py:", model) + " --require 0.99")
    assert said.code == 4


def test_traceback_shows_all_of_it(tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-c", "from sparring.cli import main; main()", *f"{LINE}Raises --traceback".split()]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 4
    assert "Traceback (most recent call last)" in done.stderr
    assert 'raise ValueError("my own\\nwords")' in done.stderr


def test_in_python_it_keeps_its_type_and_says_whose_it_is() -> None:
    from sparring.blame import blamed

    class Mine(Exception):
        pass

    class Net(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            raise Mine("why")

    x, y = torch.rand(4, 6), torch.zeros(4, dtype=torch.int64)
    for call in (
        lambda: sp.PGD()(Net(6, 3), x, y, sp.Linf(0.1)),
        lambda: sp.evaluate(Net(6, 3), (x, y), sp.Linf(0.1), "quick"),
        lambda: sp.audit(Net(6, 3), (x, y), sp.Linf(0.1)),
    ):
        with pytest.raises(Mine, match="why") as caught:
            call()
        assert "Net" in (blamed(caught.value) or "")
        assert any("raised in the network Net" in note for note in caught.value.__notes__)
    with pytest.raises(InputError, match=r"fails on data of shape \(6,\): why") as told:
        sp.train(Net(6, 3), (x, y), sp.defenses.Standard(), epochs=1)
    assert isinstance(told.value.__cause__, Mine)


# Wrong usage: 2, and ours: 70.


WRONG = {
    "evaluate --threat linf:0.1 --no-save --model net.py:nothing": ["net.py:nothing", "int"],
    "evaluate --threat linf:0.1 --no-save --model net.py:absent": ["absent"],
    "evaluate --threat linf:0.1 --no-save --model absent.py:net": ["absent.py"],
    "evaluate --threat linf:0.1 --no-save --model folder:net": ["folder"],
    "evaluate --threat linf:0.1 --no-save --model net.py:Net --seed 18446744073709551616": [
        "18446744073709551616",
        "seed",
    ],
    "evaluate --threat linf:0.1 --no-save --model net.py:Net --seed -1": ["-1", "seed"],
    "evaluate --threat linf:0.1 --no-save --model net.py:Net --weights folder": ["folder"],
    "evaluate --threat linf:0.1 --no-save --model net.py:Net --data folder": ["folder"],
    "evaluate --threat linf:0.1 --no-save --model net.py:Net --data net.py": ["net.py"],
    "evaluate --threat linf:0.1 --no-save --model net.py:Net --limit 0": ["limit"],
    "evaluate --threat linf:nan --no-save --model net.py:Net": ["nan"],
    "evaluate --threat linf --no-save --model net.py:Net": ["radius"],
    "evaluate --threat linf:0.1 --no-save --model net.py:Net --batch-size 0": ["batch"],
    "evaluate --threat linf:0.1 --no-save --model net.py:Net --require nan": ["require"],
    "evaluate --threat linf:0.1 --out net.py --model net.py:Net": ["net.py"],
    "evaluate --config folder --model net.py:Net": ["folder"],
    "attack --threat linf:0.1 --model net.py:Net --attack pgd --set steps=True": ["steps"],
    "attack --threat linf:0.1 --model net.py:Net --attack pgd --set step_size=nan": ["step_size"],
    "attack --threat linf:0.1 --model net.py:Net --attack pgd --set step_size=-1": ["step_size"],
    "attack --threat linf:0.1 --model net.py:Net --attack carlini_wagner --set initial_c=0": ["initial_c"],
    "train --recipe folder": ["folder"],
    "train --recipe digits-at --seed 18446744073709551616": ["18446744073709551616"],
    "train --recipe digits-at --epochs 0": ["epochs"],
    "demo --seed 18446744073709551616": ["18446744073709551616"],
    "merge folder --out whole": ["folder"],
    "flash check folder/none.mp4": ["none.mp4"],
    "flash check": ["PATH"],
    "demo --out ''": ["--out is empty"],
    "evaluate --threat linf:0.1 --no-save --model net.py:Net --device meta": ["device 'meta' cannot be used"],
    "evaluate --threat linf:0.1 --no-save --model net.py:Net --batch-size 9999999999999999999": ["9999999999999999999"],
    "evaluate --threat linf:inf --no-save --model net.py:Net": ["inf"],
    "evaluate --threat linf: --no-save --model net.py:Net": ["radius ''"],
}


@pytest.mark.parametrize("line", WRONG)
def test_what_was_typed_wrong_is_2_in_one_line(line: str, type_: Type, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    said = type_(line)
    assert said.code == 2, said.err
    assert "Traceback" not in said.err + said.out
    for word in WRONG[line]:
        assert word in said.err


def test_a_fault_of_ours_is_70_and_asks_to_be_reported(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparring.evaluation.evaluate", lambda *args, **named: {}["cannot be"])
    monkeypatch.setattr("sparring.blame.installed", lambda file: True)  # this file too
    said = type_(LINE + "Net")
    assert said.code == 70
    assert "sparring itself failed, with KeyError: 'cannot be'; please report it" in said.err


def test_the_last_line_of_an_installed_package_is_told_where_the_network_is_one_of_it(
    type_: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparring.blame.installed", lambda file: True)
    said = type_(LINE + "Raises")
    assert said.code == 4
    assert_told(said, ["the network Raises", "net.py:16 in forward"])


# Gates: 1, before 3.


MASKED = """
import torch
from torch import nn
from sparring.data import load

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        digits = load("digits:train")
        means = torch.stack([digits.x[digits.y == k].flatten(1).mean(0) for k in range(10)])
        self.weight, self.bias = nn.Parameter(20 * means), nn.Parameter(-10 * means.square().sum(1))
    def forward(self, x):
        return torch.round(x.flatten(1) * 4) / 4 @ self.weight.T + self.bias
"""


def test_a_failed_gate_is_1_and_wins_over_a_result_that_is_not_reliable(type_: Type, tmp_path: Path) -> None:
    (tmp_path / "masked.py").write_text(MASKED)
    line = "evaluate --model masked.py:Net --threat linf:0.3 --plan quick --limit 80 --no-save"
    found = type_(line)
    assert found.code == 3, found.out + found.err
    assert type_(f"{line} --require 0.99").code == 1
    assert type_(f"{line} --require 0").code == 3


def test_only_gates_give_1(type_: Type) -> None:
    assert type_(LINE + "Net --require 0.999").code == 1
    assert type_(LINE + "Net --require 0").code in (0, 3)


# The same values in Python.


X, Y = torch.rand(6, 4), torch.arange(6) % 3
LINEAR = nn.Linear(4, 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: sp.evaluate(LINEAR, (X, Y), sp.Linf, "quick"),
        lambda: sp.PGD()(LINEAR, X, Y, sp.Linf),
        lambda: sp.audit(LINEAR, (X, Y), sp.L2),
        lambda: sp.train(LINEAR, (X, Y), sp.defenses.AdversarialTraining(), sp.Linf, epochs=1),
        lambda: sp.train(LINEAR, (X, Y), sp.defenses.AdversarialTraining, sp.Linf(0.1), epochs=1),
        lambda: sp.evaluate(LINEAR, (X, Y), 0.1, "quick"),
        lambda: sp.evaluate(LINEAR, (X, Y), "linf:0.1:2", "quick"),
        lambda: sp.Linf(True),
        lambda: sp.L2(radius) if (radius := torch.tensor(True)) is not None else None,
        lambda: sp.evaluate(LINEAR, (X, Y), sp.Linf(0.1), "quick", seed=2**64),
        lambda: sp.evaluate(LINEAR, (X, Y), sp.Linf(0.1), "quick", seed=True),
        lambda: sp.evaluate(LINEAR, (X, Y), sp.Linf(0.1), "quick", limit=True),
        lambda: sp.evaluate(LINEAR, (X, Y), sp.Linf(0.1), "quick", batch_size=1.5),
        lambda: sp.evaluate(LINEAR, (X, Y), sp.Linf(0.1), [sp.PGD]),
        lambda: sp.evaluate(LINEAR, (X, Y), sp.Linf(0.1), ["pgd", 3]),
        lambda: sp.evaluate(LINEAR, (X, Y + 5), sp.Linf(0.1), "quick"),
        lambda: sp.evaluate(LINEAR, (X, torch.tensor([0, 1, 2, 0, 1, 7])), sp.Linf(0.1), "quick", batch_size=2),
        lambda: sp.PGD(batch_size=2)(LINEAR, X, torch.tensor([0, 1, 2, 0, 1, -3]), sp.Linf(0.1)),
        lambda: sp.audit(LINEAR, (X, torch.tensor([0, 1, 2, 0, 1, 7])), sp.Linf(0.1)),
        lambda: sp.train(LINEAR, (X, torch.tensor([0, 1, 2, 0, 1, 7])), sp.defenses.Standard(), epochs=1, batch_size=2),
        lambda: sp.Model(LINEAR, bounds=(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0]))),
        lambda: sp.Model(LINEAR, bounds=torch.tensor([0.0])),
        lambda: sp.Model(LINEAR, bounds=(False, True)),
        lambda: sp.Model(LINEAR, eot=True),
        lambda: sp.threats.parse(None),
        lambda: sp.evaluate(LINEAR, (X, Y), sp.Linf(0.1), 3),
        lambda: sp.evaluate(LINEAR, (X, Y), sp.Linf(0.1), "quick", shard=(True, True)),
        lambda: sp.evaluate(LINEAR, (X, Y), sp.Linf(0.1), "quick", targets=3),
        lambda: sp.evaluate(LINEAR, (X, Y), sp.Linf(0.1), "quick", targets=torch.tensor(3)),
        lambda: sp.evaluate(LINEAR, (X, Y), sp.Linf(0.1), "quick", batch_size=10**20),
        lambda: sp.evaluate(LINEAR, (X, Y), sp.Linf(0.1, mask="x"), "quick"),
        lambda: sp.evaluate(nn.Linear, (X, Y), sp.Linf(0.1), "quick"),
        lambda: sp.PGD()(LINEAR, X, Y, sp.Linf(0.1), seek="furthest"),
        lambda: sp.PGD()(LINEAR, X, Y, sp.Linf(0.1), targets="a"),
        lambda: sp.train(LINEAR, (X, Y), sp.defenses.Standard(), epochs=1, lr=1e300),
        lambda: sp.train(LINEAR, (X, Y), sp.defenses.Standard(), epochs=1, schedule=Cosine),
    ],
)  # fmt: skip
def test_odd_values_in_python_are_told_with_value_and_remedy(call: Any) -> None:
    with pytest.raises(InputError):
        call()


def test_bounds_may_be_tensors_of_one_number() -> None:
    model = sp.Model(LINEAR, bounds=(torch.tensor(0.0), torch.tensor(1.0)))
    assert model.bounds == (0.0, 1.0)
    assert sp.Model(LINEAR, bounds=torch.tensor([0.0, 1.0])).bounds == (0.0, 1.0)  # type: ignore[arg-type]

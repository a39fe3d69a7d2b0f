"""The command line as it is typed: exit codes, one-line errors, JSON, gates, and going on after Ctrl-C."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sparring as sp
from sparring.cli.wording import settings
from sparring.named import made
from typed import Type

NET = """
import os, torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(12, 2)
        self.calls = 0
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))

    def forward(self, x):
        self.calls += 1
        if os.path.exists("interrupt") and self.calls > 25:
            raise KeyboardInterrupt
        return self.layer(x.flatten(1))

def broken():
    raise RuntimeError("no such luck")
"""


@pytest.fixture(autouse=True)
def _network(tmp_path: Path) -> None:
    """A linear network, in the folder in which commands are typed."""
    (tmp_path / "net.py").write_text(NET)


@pytest.fixture
def known(type_: Type, tmp_path: Path) -> float:
    """Writes linear.npz; returns the share of its examples farther than 0.2 from the boundary, in L∞."""
    sys.path.insert(0, str(tmp_path))
    try:
        from sparring.loading import load_network

        net: Any = load_network("net.py:Net")
    finally:
        sys.path.remove(str(tmp_path))
    x = np.random.RandomState(0).uniform(-1, 1, (40, 1, 3, 4)).astype("f4")
    weight, bias = net.layer.weight.detach().double().numpy(), net.layer.bias.detach().double().numpy()
    margin = x.reshape(40, 12) @ (weight[1] - weight[0]) + bias[1] - bias[0]
    np.savez(tmp_path / "linear.npz", x=x, y=(margin > 0).astype("i8"))
    return float((abs(margin) / abs(weight[1] - weight[0]).sum() > 0.2).mean())


LINEAR = "--model net.py:Net --data linear.npz --bounds=-9,9 --threat linf:0.2"


def test_help_and_version_answer_without_torch() -> None:
    code = """
import sys
from sparring.cli import main
commands = "demo attack evaluate train list doctor".split()
for words in ([], ["--help"], ["--version"], *([command, "--help"] for command in commands)):
    sys.argv = ["sparring", *words]
    try:
        main()
    except SystemExit as stop:
        assert stop.code in (0, None) or not words, (words, stop.code)
assert "torch" not in sys.modules
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert f"sparring {sp.__version__}" in run.stdout


def test_json_is_the_saved_result_and_the_closed_form(type_: Type, known: float) -> None:
    said = type_(f"evaluate {LINEAR} --out runs/a --json --batch-size 16")
    assert said.code == 0
    results = json.loads(said.out)
    assert results == json.loads(Path("runs/a/results.json").read_text())
    assert 0 < results["robust_accuracy"] == known < results["clean_accuracy"] == 1
    assert results["command"] == f"sparring evaluate {LINEAR} --out runs/a --json --batch-size 16"
    assert "AT MOST" in said.err


def test_words_go_to_stdout_and_progress_to_stderr(type_: Type, known: float) -> None:
    said = type_(f"evaluate {LINEAR} --limit 20")
    assert said.code == 0
    assert "round, within reach" in said.out
    assert "Read as: robust accuracy is AT MOST" in said.out
    assert "evaluating: 100% · worst case so far" in said.err
    (folder,) = Path("runs").iterdir()
    assert f"{folder}/: adversarial.safetensors, ledger.jsonl, results.json" in said.out


def test_quiet_says_only_the_outcome_and_no_save_writes_nothing(type_: Type, known: float) -> None:
    said = type_(f"evaluate {LINEAR} --quiet --no-save")
    assert said.err == "note: only 40 examples are classified rightly; at least 50 are needed to check\n"
    assert said.out.endswith("Verdict: suspect.\n")
    assert len(said.out.splitlines()) == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize(("required", "code"), [(0.0, 0), (0.99, 1)])
def test_a_gate_decides_the_exit_code(type_: Type, known: float, required: float, code: int) -> None:
    said = type_(f"attack {LINEAR} --require {required} --no-save")
    assert said.code == code
    assert ("gate failed" in said.err) == bool(code)


def test_an_attack_takes_its_settings(type_: Type, known: float) -> None:
    settings = "--set steps=3 --set step_size=none --set random_start=false --set objective=margin"
    results = json.loads(type_(f"attack {LINEAR} --attack pgd {settings} --json --no-save").out)
    assert results["attacks"] == [
        {"name": "pgd", "attack": repr(sp.PGD(steps=3, random_start=False, objective="margin"))}
    ]


def test_a_threat_without_a_radius_tells_distances(type_: Type, known: float) -> None:
    line = LINEAR.replace("linf:0.2", "l2")
    said = type_(f"attack {line} --attack carlini_wagner --set steps=50 --set searches=3 --set initial_c=10 --no-save")
    assert said.code == 0
    assert "40 of 40 examples fell, at a distance of AT MOST" in said.out


def test_images_are_written_and_checked_again(type_: Type, known: float) -> None:
    said = type_(f"attack {LINEAR} --images --out runs/i")
    written = sorted(path.name for path in Path("runs/i").iterdir())
    assert {"images", "picture.png", "results.json", "adversarial.safetensors"} <= set(written)
    broken = round(40 * (1 - known))
    assert len(list(Path("runs/i/images").glob("*.png"))) == broken
    assert f"{broken} adversarial images in runs/i/images/; rounded to 8 bits" in said.out


def test_ctrl_c_says_how_to_go_on_and_going_on_changes_nothing(type_: Type, known: float) -> None:
    whole = json.loads(type_(f"attack {LINEAR} --batch-size 10 --set steps=5 --no-save --json").out)
    Path("interrupt").touch()
    stopped = type_(f"attack {LINEAR} --batch-size 10 --set steps=5")
    assert stopped.code == 130
    assert "10 of 40 examples are finished" in stopped.err
    Path("interrupt").unlink()
    again = stopped.err.split("go on with: sparring ")[1].strip()
    resumed = json.loads(type_(again + " --json").out)
    for key in ("robust_accuracy", "clean_accuracy", "forwards", "backwards"):
        assert resumed[key] == whole[key]


def test_a_finished_run_is_kept(type_: Type, known: float) -> None:
    first = type_(f"attack {LINEAR} --out runs/a --json")
    assert json.loads(type_(f"attack {LINEAR} --out runs/a --json").out) == json.loads(first.out)
    assert type_(f"attack {LINEAR} --out runs/a --no-resume").code == 2
    assert "belongs to another run" in type_(f"attack {LINEAR} --out runs/a --seed 1").err


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (f"attack {LINEAR} --attack pdg", "Did you mean pgd?"),
        (f"attack {LINEAR} --set step=4", "Did you mean steps? It has: steps, step_size"),
        (f"attack {LINEAR} --set steps=ten", "valid integer"),
        (f"attack {LINEAR} --set steps", "--set key=value"),
        (f"attack {LINEAR} --set steps=0", "at least 1"),
        (f"evaluate {LINEAR} --plan quik", "Did you mean quick?"),
        ("evaluate --model net.py:Net --threat lnf:8/255", "Did you mean linf?"),
        ("evaluate --model net.py:Net --threat linf:x", "a fraction like 8/255"),
        ("evaluate --threat linf:0.1", "--model is missing"),
        ("evaluate --model zoo:digits-cn --threat linf:0.1", "zoo:{digits-cnn"),
        ("evaluate --model absent.py:Net --threat linf:0.1", "absent.py"),
        ("evaluate --model net.py:Net --weights absent.pt --threat linf:0.1", "absent.pt"),
        ("evaluate --model net.py:Net --data absent.npz --threat linf:0.1", "absent.npz"),
        (f"evaluate {LINEAR} --bounds 0;1", "2 numbers"),
        (f"evaluate {LINEAR} --bounds 1,0", "bounds"),
        (f"evaluate {LINEAR} --mean a,b", "--mean"),
        (f"evaluate {LINEAR} --device warp", "device 'warp' cannot be used"),
        (f"evaluate {LINEAR} --out runs/x --no-save", "contradict"),
        (f"evaluate {LINEAR} --out net.py/x", "net.py"),
        (f"evaluate {LINEAR} --images --no-save", "--images needs a folder"),
        ("list atacks", "Did you mean attacks?"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_two(type_: Type, known: float, line: str, hint: str) -> None:
    said = type_(line.replace("0;1", "'0;1'"))
    assert said.code == 2
    assert said.out == ""
    errors = [text for text in said.err.splitlines() if text.startswith("error: ")]
    assert len(errors) == 1
    assert hint in errors[0]
    assert "Traceback" not in said.err


@pytest.mark.parametrize("line", ["evaluate", "evaluat --help", f"attack {LINEAR} --require 2", "attack --nothing"])
def test_wrong_usage_is_exit_code_two(type_: Type, line: str) -> None:
    assert type_(line).code == 2


def test_the_lists_hold_everything_registered(type_: Type) -> None:
    every = json.loads(type_("list --json").out)
    assert list(every) == ["attacks", "threats", "objectives", "plans", "defenses", "transforms", "models", "recipes"]
    assert list(every["attacks"]) == list(sp.attacks.available())
    assert every["attacks"]["pgd"]["parameters"]["steps"] == "40"
    assert json.loads(type_("list attacks --json").out) == every["attacks"]
    told = type_("list").out
    assert all(name in told for entries in every.values() for name in entries)
    assert all(entry["summary"] for entries in every.values() for entry in entries.values())


def test_listed_defaults_can_be_typed_back(type_: Type) -> None:
    for name, entry in json.loads(type_("list attacks --json").out).items():
        kind = sp.attacks.available()[name]
        typed = settings(f"{key}={value}" for key, value in entry["parameters"].items())
        assert made(kind, typed, "--set ", name) == kind()


def test_the_doctor_finds_this_machine_well(type_: Type) -> None:
    said = type_("doctor")
    assert said.code == 0
    assert "64 of 64 fall at 1.02 × the exact distance, 0 at 0.98 ×" in said.out
    assert "all well" in said.out


def test_an_untrained_network_is_pointed_out(type_: Type) -> None:
    assert "untrained" in type_("attack --model zoo:digits-mlp --threat linf:0.1 --attack fgsm --limit 9 --no-save").err

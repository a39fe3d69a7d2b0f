"""Killed at any moment, damaged in any file, called again by another: a folder gives its own run's result or refuses.

`benchmarks/durability.py` tries the same hundreds of times.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import scipy.stats  # noqa: F401  # what is imported on first use each forked process would import again, for seconds
import torch
from torch import Tensor, nn

import sparring as sp
from evaluation.cases import Mortal, assert_same
from runs import assert_equal, exits, kept, state, without_seconds
from sparring import defenses as d
from sparring.errors import SparringError
from sparring.loading import load_network
from sparring.training import train

X = torch.rand(40, 6, generator=torch.Generator().manual_seed(1))
KL = sp.PGD(steps=3, objective="kl")
FIRST = {"evaluate": "blocks/000000.safetensors", "train": "checkpoint.pt"}
REFUSED = {"evaluate": "belongs to another run", "train": "keeps another run"}


def network() -> nn.Module:
    return Mortal()


class Then(nn.Module):
    """A function of what a network says."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.function = network(), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.net(x))


def labels() -> Tensor:
    with torch.no_grad():
        return network()(X).argmax(1)


def evaluated(out: Path, net: nn.Module | None = None, **changes: Any) -> sp.evaluation.Result:
    """Five blocks."""
    plan = [sp.FGSM(), sp.PGD(steps=20), sp.Square(queries=50)]
    asked = {"threat": sp.Linf(0.06), "plan": plan, "batch_size": 8, **changes}
    return sp.evaluate(net or network(), (X, labels()), out=out, **asked)


def trained(out: Path, net: nn.Module | None = None, **changes: Any) -> Any:
    """Five epochs of five batches."""
    asked: dict[str, Any] = {"defense": d.TRADES(attack=KL), "threat": sp.Linf(0.05), "epochs": 5, **changes}
    return train(net or network(), (X, labels()), asked.pop("defense"), batch_size=8, ema=0.9, out=out, **asked)


RUNS: dict[str, Callable[..., Any]] = {"evaluate": evaluated, "train": trained}

FEW: dict[str, dict[str, Any]] = {"evaluate": {"plan": [sp.PGD(steps=3)]}, "train": {"epochs": 2}}

Made = Callable[[], dict[str, Any]]
# Two ways to ask for a run that differ in one thing.
PAIRS: dict[str, tuple[Made, Made]] = {
    "evaluate:activation": (lambda: {"net": Then(nn.Softplus())}, lambda: {"net": Then(nn.ELU())}),
    "evaluate:lambda": (lambda: {"net": Then(lambda z: 2 * z)}, lambda: {"net": Then(lambda z: 3 * z)}),
    "evaluate:steps": (dict, lambda: {"plan": [sp.PGD(steps=4)]}),
    "train:beta": (dict, lambda: {"defense": d.TRADES(beta=5.0, attack=KL)}),
    "train:lambda": (lambda: {"net": Then(lambda z: 2 * z)}, lambda: {"net": Then(lambda z: 3 * z)}),
    "train:radius": (dict, lambda: {"threat": sp.Linf(0.06)}),
}
KILLS = [f"{run}:killed:late" for run in RUNS]
CALLS = [f"{pair}:{which}" for pair in PAIRS for which in ("first", "other", "again")]


# Processes.


def one_of(name: str, folder: str) -> None:
    """In a process of its own: a clean run, one that is killed, or one call of a pair."""
    run, what, *which = name.split(":")
    out = Path(folder) / f"{run}-{what}"
    if what == "clean":
        start = time.monotonic()
        RUNS[run](out)
        _note(folder, name, time.monotonic() - start)
    elif what == "killed":
        _kill(run, Path(folder) / name, which == ["late"], _noted(folder, f"{run}:clean"))
    else:
        before = _times(out)
        try:
            RUNS[run](out, **{**FEW[run], **PAIRS[f"{run}:{what}"][which == ["other"]]()})
            said = ""
        except sp.ResumeError as error:
            said = str(error)
        _note(folder, name, {"refused": said, "untouched": before == _times(out)})
        if which == ["first"]:
            shutil.copytree(out, f"{out}-first")


def _kill(run: str, out: Path, late: bool, seconds: float) -> None:
    """A run, killed from outside at a random moment: with `late` once its first part is written."""
    draw = random.Random(f"{run} {late}")
    for _ in range(30):
        shutil.rmtree(out, ignore_errors=True)
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            RUNS[run](out)
            os._exit(0)
        while late and not (out / FIRST[run]).exists() and time.monotonic() < start + 60:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, max(0.0, 0.8 * (seconds - (time.monotonic() - start)))))
        os.kill(child, signal.SIGKILL)
        if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            return
    raise AssertionError("it was always done before it was killed")


def _times(out: Path) -> dict[str, int]:
    """When each part was written: what is computed again is written again."""
    return {name: (out / name).stat().st_mtime_ns for name in files(out) if name.startswith(("blocks/", "checkpoint"))}


def _note(folder: str, name: str, said: Any) -> None:
    (Path(folder) / f"{name}.json").write_text(json.dumps(said))


def _noted(folder: str | Path, name: str) -> Any:
    return json.loads((Path(folder) / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what the processes left."""
    folder = tmp_path_factory.mktemp("tried")
    names = [*(f"{run}:clean" for run in RUNS), *KILLS, *CALLS]
    assert exits(__file__, "one_of", folder, names) == dict.fromkeys(names, 0)
    return folder


# What a folder says.


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def assert_as(run: str, folder: Path, clean: Path) -> None:
    """To the last bit, but for the time it took; and nothing else is left lying there."""
    assert {name for name in files(folder) if "tensorboard" not in name} == {
        name for name in files(clean) if "tensorboard" not in name
    }
    if run == "evaluate":
        assert_same(folder, clean)
        return
    one, other = kept(folder), kept(clean)
    one["history"], other["history"] = without_seconds(one["history"]), without_seconds(other["history"])
    assert_equal(one, other)
    assert (folder / "model.safetensors").read_bytes() == (clean / "model.safetensors").read_bytes()
    lines, wanted = (
        [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()] for place in (folder, clean)
    )
    assert without_seconds(lines) == without_seconds(wanted)


# Tests.


@pytest.mark.parametrize("name", KILLS)
def test_what_was_killed_at_a_random_moment_goes_on_to_the_same_result(name: str, tried: Path, tmp_path: Path) -> None:
    run, _, when = name.split(":")
    out, clean = tmp_path / "run", tried / f"{run}-clean"
    if (tried / name).exists():  # else it was killed before it made its folder
        shutil.copytree(tried / name, out)
    if when == "late":
        assert (out / FIRST[run]).exists()
    found, wanted = RUNS[run](out), RUNS[run](shutil.copytree(clean, tmp_path / "clean"))
    assert_as(run, out, clean)
    if run == "train":
        assert_equal(state(found.model), state(wanted.model))
        assert len(found.history) == 5
    else:
        assert_equal([found.x, found.robust, found.distance], [wanted.x, wanted.robust, wanted.distance])
        assert 0 < found.robust_accuracy < found.clean_accuracy  # some fell and some did not: equality says something


def test_a_flipped_bit_of_any_file_is_refused_or_leaves_the_result_as_it_is(tried: Path, tmp_path: Path) -> None:
    met = set()
    for number in range(12):
        draw, run = random.Random(number), ("evaluate", "train")[number % 2]
        clean, source = tried / f"{run}-clean", tried / (f"{run}:killed:late" if number % 4 > 1 else f"{run}-clean")
        place = Path(shutil.copytree(source, tmp_path / str(number)))
        path = draw.choice(sorted(path for path in map(place.joinpath, files(place)) if path.stat().st_size))
        content = bytearray(path.read_bytes())
        at, bit = draw.randrange(len(content)), draw.randrange(8)
        content[at] ^= 1 << bit
        path.write_bytes(bytes(content))
        what = f"bit {bit} of byte {at} of {path.relative_to(place)} in {source.name}"
        readers: list[Callable[[], object]] = []
        if run == "evaluate":
            readers = [partial(_merged, place, tmp_path / f"merged {number}", clean)]
        elif path.name == "model.safetensors":
            readers = [partial(_loaded, path, source / path.name)]
        for read in (*readers, partial(_went_on, run, place, clean)):
            met.add((run, _equal_or_refused(read, what)))
    assert met == {(run, how) for run in RUNS for how in ("equal", "refused")}  # both were met with both


def _equal_or_refused(read: Callable[[], object], what: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            read()
    except SparringError:
        return "refused"
    except BaseException as error:
        error.add_note(what)
        raise
    return "equal"


def _went_on(run: str, folder: Path, clean: Path) -> None:
    RUNS[run](folder)
    assert_as(run, folder, clean)


def _merged(folder: Path, out: Path, clean: Path) -> None:
    sp.merge([folder], out)
    assert_same(out, clean)


def _loaded(weights: Path, whole: Path) -> None:
    """The weights of a training, read by a command that is given them."""
    spec = f"{Path(__file__).resolve()}:network"
    assert_equal(state(load_network(spec, weights)), state(load_network(spec, whole)))


@pytest.mark.parametrize("pair", PAIRS)
def test_a_run_that_differs_in_one_thing_is_refused_and_an_equal_one_goes_on(pair: str, tried: Path) -> None:
    """Three processes ask in turn for one folder."""
    run, what = pair.split(":")
    first, other, again = (_noted(tried, f"{pair}:{which}") for which in ("first", "other", "again"))
    assert first["refused"] == ""
    assert REFUSED[run] in other["refused"]
    assert other["untouched"]
    assert again == {"refused": "", "untouched": True}  # nothing was computed again
    assert_as(run, tried / f"{run}-{what}", tried / f"{run}-{what}-first")


def test_an_audit_that_is_damaged_is_not_left_out_of_a_merge(tmp_path: Path) -> None:
    """It may have said that the number cannot be believed."""
    found = evaluated(tmp_path / "run", plan=[sp.FGSM()], limit=8, audit=True)
    assert sp.merge([tmp_path / "run"], tmp_path / "whole").verdict == found.verdict
    path = tmp_path / "run" / "blocks" / "audit.json"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(sp.ResumeError, match=r"audit.json cannot be used: .*; evaluate again with audit=True"):
        sp.merge([tmp_path / "run"], tmp_path / "other")
    assert not (tmp_path / "other").exists()
    with pytest.warns(UserWarning, match="The audit is run again"):
        evaluated(tmp_path / "run", plan=[sp.FGSM()], limit=8, audit=True)
    assert sp.merge([tmp_path / "run"], tmp_path / "other").verdict == found.verdict

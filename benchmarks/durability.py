"""Claim: what is killed goes on to the same result, damage is never believed, and no result is given to another run.

kill: `evaluate` and `train` are killed (SIGKILL) at random moments, half of them once the first part is written, and
called again: files and results are those of a run that was never stopped. flips: one random bit of a random file of a
finished or unfinished folder is flipped; then the folder is read by all that reads it (`merge`, `--weights`), and the
run goes on: the result is the same, or it is refused. pairs: two runs that differ in one thing share a folder: the
second is refused; equal ones, made anew elsewhere, go on.

Every run is a process of its own, forked from one that has imported everything.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

import sparring as sp
from benchmarks.figures import table_of
from benchmarks.measure import settings, table
from sparring import defenses as d
from sparring.cli import main as command_line
from sparring.cli.exits import USAGE
from sparring.data import load
from sparring.errors import InputError, SparringError
from sparring.loading import load_network
from sparring.training import SGD, Flip, OneCycle

TIMES = ("seconds", "started", "stopped", "date")
PARTS = ("kill", "flips", "pairs")
Changes = dict[str, Any]


# The two runs. Each is made anew wherever it is called, as in a process of its own.


def network(activation: nn.Module | None = None, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = nn.Linear(64, 32), activation or nn.ReLU(), nn.Linear(32, 10)
    return nn.Sequential(nn.Flatten(), *layers).eval()


def learnt(net: nn.Module | None = None) -> nn.Module:
    """A network that reads most digits, by a few steps of least squares."""
    net = net or network()
    digits = load("digits:train")
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(net(digits.x), digits.y).backward()
        optimizer.step()
    return net


def evaluated(folder: Path, **changes: Any) -> Any:
    """Six blocks of ten digits and four attacks; the audit too where it is asked for."""
    digits = load("digits", limit=60)
    asked: Changes = {
        "model": None,
        "data": (digits.x, digits.y),
        "threat": sp.Linf(0.1),
        "plan": [sp.FGSM(), sp.PGD(steps=20), sp.APGD(steps=20), sp.Square(queries=300)],
        "batch_size": 10,
        **changes,
    }
    model = asked.pop("model")
    return sp.evaluate(
        learnt() if model is None else model, asked.pop("data"), asked.pop("threat"), out=folder, **asked
    )


def trained(folder: Path, **changes: Any) -> Any:
    """Four epochs of TRADES on 400 digits."""
    asked: Changes = {
        "net": None,
        "examples": 400,
        "defense": d.TRADES(attack=sp.PGD(steps=3, objective="kl")),
        "threat": sp.Linf(0.1),
        "epochs": 4,
        "batch_size": 50,
        "ema": 0.9,
        **changes,
    }
    net, digits = asked.pop("net"), load("digits:train", limit=asked.pop("examples"))
    defense, threat = asked.pop("defense"), asked.pop("threat")
    return sp.train(network() if net is None else net, (digits.x, digits.y), defense, threat, out=folder, **asked)


def typed(folder: Path) -> None:
    """`sparring train`, which goes on by the recipe in its folder."""
    words = "--model zoo:digits-mlp --data digits --defense trades --threat linf:0.1 --epochs 2 --limit 200"
    sys.argv = ["sparring", "train", "--out", str(folder), "--quiet"]
    sys.argv += [] if (folder / "recipe.toml").exists() else words.split()
    try:
        with redirect_stdout(None), redirect_stderr(None):
            command_line()
    except SystemExit as stop:
        if stop.code == USAGE:
            raise InputError("refused on the command line") from stop
        if stop.code:
            raise


RUNS: dict[str, Callable[..., Any]] = {"evaluate": evaluated, "train": trained, "sparring train": typed}


# What a run left, without times.


def timeless(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: timeless(value) for key, value in found.items() if key not in TIMES}
    return [timeless(one) for one in found] if isinstance(found, list) else found


def digest(folder: Path, result: Any) -> str:
    """A hash over what a run says and over all that its folder says, but for times."""
    said = hashlib.sha256()

    def tell(name: str, value: Any) -> None:
        if isinstance(value, Tensor):
            said.update(f"{name} {value.dtype} {tuple(value.shape)}".encode() + value.numpy().tobytes())
        else:
            said.update(f"{name} {json.dumps(timeless(value), sort_keys=True)}".encode())

    if isinstance(result, sp.training.Trained):
        for name, value in result.model.state_dict().items():
            tell(name, value)
        tell("history", result.history)
    elif result is not None:
        for name in ("x", "robust", "distance"):
            tell(name, getattr(result, name))
        tell("records", result.records())
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.startswith((".lock", ".training")) or "tensorboard" in path.parts:
            continue
        name = str(path.relative_to(folder))
        match path.suffix:
            case ".safetensors":
                for key, value in sorted(load_file(path).items()):
                    tell(f"{name} {key}", value if key != "seconds" else list(value.shape))
            case ".json":
                told = json.loads(path.read_text())
                tell(
                    name,
                    {key: value for key, value in told.items() if key not in ("run", "measured", "begun", "sha256")},
                )
            case ".jsonl":
                tell(name, [json.loads(line) for line in path.read_text().splitlines()])
            case ".pt":
                kept = torch.load(path, weights_only=True)
                tell(f"{name} history", kept["history"])
                for key, value in sorted({**kept["model"], **kept["buffers"]}.items()):
                    tell(f"{name} {key}", value)
            case ".toml":
                said_there = tomllib.loads(path.read_text())
                tell(name, {key: value for key, value in said_there.items() if key != "kept"})
            case _:
                tell(name, "here")
    return said.hexdigest()


# Processes.


@dataclass(frozen=True)
class Ended:
    """How a process ended: "equal" to what was expected, "different", "refused", "failed", or "killed"; and why."""

    how: str
    why: str = ""
    calls: int = 0


def forked(work: Callable[[], str]) -> tuple[int, Path]:
    """A process that writes what `work` gives, or the error that it raises, into a file."""
    told = Path(tempfile.mkstemp()[1])
    child = os.fork()
    if child:
        with suppress(ProcessLookupError):  # by both, so that the group is there whoever comes first
            os.setpgid(child, child)
        return child, told
    os.setpgid(0, 0)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    try:
        said = f"gave {work()}"
    except SparringError as error:
        said = f"refused {type(error).__name__}: {error}"
    except BaseException:
        said = f"failed {traceback.format_exc()}"
    told.write_text(said)
    os._exit(0)


def ended(child: int, told: Path, expected: str) -> Ended:
    os.waitpid(child, 0)
    how, _, said = told.read_text().partition(" ")
    told.unlink()
    if how == "gave":
        said, _, calls = said.partition(" ")
        return Ended("equal" if said == expected else "different", said, int(calls or 0))
    return Ended(how or "killed", said)


def undisturbed(work: Callable[[], str]) -> str:
    """What a process gives that nobody disturbs."""
    end = ended(*forked(work), "")
    if end.how != "different":
        raise RuntimeError(f"an undisturbed run ended as {end}")
    return end.why


def read_back(folder: Path, path: Path, whole: Path, expected: str) -> Ended:
    """What others read of a folder in which `path` is damaged: `merge` an evaluation's, `--weights` a training's."""
    if (folder / "run.json").exists():
        merged = folder.parent / f"{folder.name} merged"
        end = ended(*forked(lambda: digest(merged, sp.merge([folder], merged))), expected)
        shutil.rmtree(merged, ignore_errors=True)
        return end
    if path.name != "model.safetensors":
        return Ended("equal")
    by = f"{Path(__file__).resolve()}:network" if not (folder / "recipe.toml").exists() else "zoo:digits-mlp"
    wanted = load_file(whole)

    def read() -> str:
        found = load_network(by, path).state_dict()
        return str(found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted))

    return ended(*forked(read), "True")


def gone_on(run: str, folder: Path, expected: str, changes: Changes | None = None) -> Ended:
    """The run once more on its folder, to the end."""
    return ended(*forked(lambda: _told(run, folder, changes or {})), expected)


def _told(run: str, folder: Path, changes: Changes) -> str:
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    handle = torch.nn.modules.module.register_module_forward_pre_hook(count)
    result = RUNS[run](folder, **changes)
    handle.remove()
    return f"{digest(folder, result)} {calls}"


# The three parts.


def kill(run: str, folder: Path, draw: random.Random, count: int) -> Counter[str]:
    """Killed at random moments and called again; half of them once the first part was written."""
    clean = folder / "clean"
    start = time.monotonic()
    expected = undisturbed(lambda: _told(run, clean, {}))
    whole = time.monotonic() - start
    first = {"evaluate": "blocks/000000.safetensors", "train": "checkpoint.pt"}[run]
    files = {path.relative_to(clean) for path in clean.rglob("*") if path.is_file()}
    found: Counter[str] = Counter()
    number = 0
    while sum(found.values()) < count:
        number += 1
        late = found["killed later"] < count // 2 and sum(found.values()) >= count - count // 2
        place = folder / f"{number}"
        child, told = forked(lambda place=place: _told(run, place, {}))  # type: ignore[misc]
        begun = time.monotonic()
        while late and not (place / first).exists() and not told.stat().st_size:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.95) * max(0.05, whole - (time.monotonic() - begun)))
        if told.stat().st_size:  # it was done already
            os.waitpid(child, 0)
            told.unlink()
            shutil.rmtree(place)
            continue
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        told.unlink()
        was = (place / first).exists()
        end = gone_on(run, place, expected)
        left = {path.relative_to(place) for path in place.rglob("*") if path.is_file()} ^ files
        good = end.how == "equal" and not left
        found["killed later" if was else "killed before the first part"] += good
        if not good:
            found["DIFFERENT"] += 1
            print(f"NOT MET: {run}, killed for the {number}th time: {end}, files {left}", flush=True)
        shutil.rmtree(place)
    print(f"kill {run}: {dict(found)}", flush=True)
    return found


def flips(folder: Path, draw: random.Random, count: int) -> Counter[str]:
    """One random bit of a random file, of finished and of unfinished folders."""
    changes: dict[str, Changes] = {
        "evaluate": {"audit": True},
        "train": {"defense": d.Distillation(temperature=20.0), "epochs": 3},
        "sparring train": {},
    }
    stopped = {"evaluate": "blocks/000002.safetensors", "train": "checkpoint.pt", "sparring train": "checkpoint.pt"}
    expected: dict[str, str] = {}
    kept: dict[Path, str] = {}
    for run, asked in changes.items():
        whole, half = folder / run, folder / f"{run} unfinished"
        expected[run] = undisturbed(partial(_told, run, whole, asked))
        child, told = forked(partial(_told, run, half, asked))
        while not (half / stopped[run]).exists() and not told.stat().st_size:
            time.sleep(0.005)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        told.unlink()
        kept |= {whole: run, half: run}
    merged = undisturbed(lambda: digest(folder / "merged", sp.merge([folder / "evaluate"], folder / "merged")))
    found: Counter[str] = Counter()
    for number in range(count):
        source = draw.choice(sorted(kept))
        run, place = kept[source], folder / f"flip {number}"
        shutil.copytree(source, place)
        path = draw.choice(sorted(one for one in place.rglob("*") if one.is_file() and one.stat().st_size))
        content = bytearray(path.read_bytes())
        at, bit = draw.randrange(len(content)), draw.randrange(8)
        content[at] ^= 1 << bit
        path.write_bytes(bytes(content))
        name = path.relative_to(place)
        ends = [read_back(place, path, source / name, merged), gone_on(run, place, expected[run], changes[run])]
        good = all(end.how in ("equal", "refused") for end in ends)
        found[ends[-1].how if good else "BELIEVED WRONGLY"] += 1
        if not good:
            print(f"NOT MET: {source.name}, byte {at} of {name}, bit {bit}: read {ends[0]}, gone on {ends[1]}")
        shutil.rmtree(place)
    print(f"flips: {dict(found)}", flush=True)
    return found


class Scaled(nn.Module):
    """A network whose logits pass through a function."""

    def __init__(self, net: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.function = net, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.net(x))


def scaled(by: float) -> Callable[[Tensor], Tensor]:
    return lambda logits: logits * by


def _nudged(net: nn.Module) -> nn.Module:
    with torch.no_grad():
        next(net.parameters())[0, 0] += 1e-2
    return net


def _digits(change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    digits = load("digits", limit=60)
    return change(digits.x.clone(), digits.y.clone())


def _pixel(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x[3, 0, 4, 4] = 0.123
    return x, y


def _label(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    y[3] = (y[3] + 1) % 10
    return x, y


def _bpda(by: float) -> sp.Model:
    net = learnt()
    return sp.Model(net, bpda={"2": lambda h: functional.relu(h) * by})


# Pairs of runs that differ in one thing.
EVALUATED: dict[str, tuple[Callable[[], Changes], Callable[[], Changes]]] = {
    "activation": (dict, lambda: {"model": learnt(network(nn.GELU()))}),
    "activation, weights equal": (dict, lambda: {"model": _with(learnt(), nn.LeakyReLU(0.1))}),
    "one weight": (dict, lambda: {"model": _nudged(learnt())}),
    "what a lambda closes over": (
        lambda: {"model": Scaled(learnt(), scaled(1.0))},
        lambda: {"model": Scaled(learnt(), scaled(1.5))},
    ),
    "lambda": (
        lambda: {"model": Scaled(learnt(), lambda logits: logits * 2)},
        lambda: {"model": Scaled(learnt(), lambda logits: logits * 3)},
    ),
    "bits": (lambda: {"model": d.Quantize(3)(learnt())}, lambda: {"model": d.Quantize(1)(learnt())}),
    "sigma": (lambda: {"model": d.GaussianNoise(0.01)(learnt())}, lambda: {"model": d.GaussianNoise(2.0)(learnt())}),
    "transform": (lambda: {"model": d.Quantize(3)(learnt())}, lambda: {"model": d.JPEG(75)(learnt())}),
    "bpda": (lambda: {"model": _bpda(1.0)}, lambda: {"model": _bpda(2.0)}),
    "eot": (
        lambda: {"model": sp.Model(d.GaussianNoise(0.1)(learnt()), eot=2)},
        lambda: {"model": sp.Model(d.GaussianNoise(0.1)(learnt()), eot=3)},
    ),
    "bounds": (dict, lambda: {"model": sp.Model(learnt(), bounds=(0.0, 1.01))}),
    "mean": (dict, lambda: {"model": sp.Model(learnt(), mean=0.01, std=1.0)}),
    "radius": (dict, lambda: {"threat": sp.Linf(0.11)}),
    "norm": (dict, lambda: {"threat": sp.L2(0.1)}),
    "seed": (dict, lambda: {"seed": 1}),
    "attack left out": (dict, lambda: {"plan": [sp.FGSM(), sp.PGD(steps=20)]}),
    "order of attacks": (
        lambda: {"plan": [sp.FGSM(), sp.PGD(steps=5)]},
        lambda: {"plan": [sp.PGD(steps=5), sp.FGSM()]},
    ),
    "steps": (lambda: {"plan": [sp.PGD(steps=5)]}, lambda: {"plan": [sp.PGD(steps=6)]}),
    "objective": (
        lambda: {"plan": [sp.PGD(steps=5, objective=lambda logits, goal: -logits.amax(1))]},
        lambda: {"plan": [sp.PGD(steps=5, objective=lambda logits, goal: logits.amin(1))]},
    ),
    "one pixel": (dict, lambda: {"data": _digits(_pixel)}),
    "one label": (dict, lambda: {"data": _digits(_label)}),
    "targets": (dict, lambda: {"targets": _targets()}),
    "each attack alone": (dict, lambda: {"individual": True}),
    "named plan": (lambda: {"plan": "quick"}, lambda: {"plan": "autoattack"}),
}
TRAINED: dict[str, tuple[Callable[[], Changes], Callable[[], Changes]]] = {
    "network": (dict, lambda: {"net": network(seed=1)}),
    "activation, weights equal": (dict, lambda: {"net": _with(network(), nn.LeakyReLU(0.1))}),
    "lambda": (
        lambda: {"net": Scaled(network(), scaled(1.0))},
        lambda: {"net": Scaled(network(), scaled(2.0))},
    ),
    "defense": (dict, lambda: {"defense": d.AdversarialTraining(sp.PGD(steps=3))}),
    "beta": (dict, lambda: {"defense": d.TRADES(beta=5.0, attack=sp.PGD(steps=3, objective="kl"))}),
    "attack": (dict, lambda: {"defense": d.TRADES(attack=sp.PGD(steps=2, objective="kl"))}),
    "objective": (
        lambda: {"defense": d.AdversarialTraining(sp.PGD(steps=2, objective=lambda logits, goal: -logits.amax(1)))},
        lambda: {"defense": d.AdversarialTraining(sp.PGD(steps=2, objective=lambda logits, goal: logits.amin(1)))},
    ),
    "radius": (dict, lambda: {"threat": sp.Linf(0.2)}),
    "norm": (dict, lambda: {"threat": sp.L2(0.1)}),
    "batch size": (dict, lambda: {"batch_size": 40}),
    "seed": (dict, lambda: {"seed": 1}),
    "optimizer": (dict, lambda: {"optimizer": SGD(0.01)}),
    "schedule": (dict, lambda: {"schedule": OneCycle()}),
    "average": (dict, lambda: {"ema": 0.99}),
    "augmentation": (dict, lambda: {"augment": (Flip(),)}),
    "examples": (dict, lambda: {"examples": 399}),
}


def _with(net: nn.Module, activation: nn.Module) -> nn.Module:
    assert isinstance(net, nn.Sequential)
    net[2] = activation
    return net


def _targets() -> Tensor:
    return (load("digits", limit=60).y + 1) % 10


def pairs(folder: Path, draw: random.Random, count: int) -> Counter[str]:
    """Runs that differ in one thing on one folder, and equal ones made anew."""
    every = [("evaluate", name, pair) for name, pair in EVALUATED.items()]
    every += [("train", name, pair) for name, pair in TRAINED.items()]
    few: dict[str, Changes] = {"evaluate": {"limit": 20}, "train": {"epochs": 1}}
    found: Counter[str] = Counter()
    for number, (run, name, (one, other)) in enumerate(draw.sample(every, count)):
        place = folder / f"{number}"
        begun = ended(*forked(partial(_pair, run, place, one, few[run])), "")
        before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
        second = ended(*forked(partial(_pair, run, place, other, few[run])), begun.why)
        kept = all(path.exists() and path.read_bytes() == content for path, content in before.items())
        equal = ended(*forked(partial(_pair, run, place, one, few[run])), begun.why)
        refused = second.how == "refused" and second.why.startswith("ResumeError") and kept
        # What a finished run is asked again: a look for its answers, and no attack.
        found["different ones refused"] += refused
        found["equal ones resumed"] += equal.how == "equal" and equal.calls < begun.calls
        if not refused or equal.how != "equal":
            found["WRONG"] += 1
            print(f"NOT MET: {run}, {name}: first {begun}, other {second}, equal {equal}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
    return found


def _pair(run: str, place: Path, asked: Callable[[], Changes], few: Changes) -> str:
    return _told(run, place, {**asked(), **few})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=60, help="of each of the two")
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=40)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings(**{name: value for name, value in vars(chosen).items() if name != "only"}, threads=1)
    rows: list[tuple[str, str, int]] = []
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        evaluated(root / "warm", limit=10, audit=True)  # what is imported on first use is so before the first fork
        trained(root / "warm too", epochs=1, examples=50)
        typed(root / "warm three")
        for run in ("evaluate", "train") if "kill" in chosen.only else ():
            told = kill(run, root / f"kill {run}", random.Random(chosen.seed), chosen.kills)
            later, good = told["killed later"], sum(told.values()) - told["DIFFERENT"]
            rows.append((f"`{run}` killed and called again: identical", f"{chosen.kills}, {later} late", good))
        if "flips" in chosen.only:
            told = flips(root / "flips", random.Random(chosen.seed), chosen.flips)
            rows.append(
                (
                    "a bit of a file flipped: refused, or the same result",
                    f"{chosen.flips}",
                    told["equal"] + told["refused"],
                )
            )
        if "pairs" in chosen.only:
            told = pairs(root / "pairs", random.Random(chosen.seed), chosen.pairs)
            rows.append(
                (
                    "two different runs in one folder: the second refused",
                    f"{chosen.pairs}",
                    told["different ones refused"],
                )
            )
            rows.append(("two equal runs in one folder: goes on", f"{chosen.pairs}", told["equal ones resumed"]))
    header = ("what", "tried", "so")
    table("Durability", header, rows)
    if chosen.only == list(PARTS):
        table_of("durability", header, rows, ("text", "time", "count"))


if __name__ == "__main__":
    main()

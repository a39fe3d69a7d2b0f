"""A run that is killed outright and called again ends where an uninterrupted one ends, to the last bit."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from runs import Net, assert_equal, exits, kept, state, without_seconds
from sparring.attacks import PGD
from sparring.defenses import (
    AWP,
    LIET,
    TRADES,
    AdversarialTraining,
    Defense,
    Distillation,
    FreeAT,
    InputGradient,
    RobustDistillation,
)
from sparring.problem import Threat
from sparring.threats import L2, Linf
from sparring.training import Cutout, Flip, Linear, OneCycle, PadCrop, Trained, train

# So few examples alarm the watch now and then; what it said must be the same too.
pytestmark = pytest.mark.filterwarnings("ignore::sparring.training.TrainingAlarm")

ROWS = 40
X = torch.rand(ROWS, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(ROWS) % 3
THREAT = Linf(0.1)
KL = PGD(steps=2, objective="kl")

AUGMENT = (PadCrop(1), Flip(), Cutout(2))
EVERYTHING: dict[str, Any] = {"ema": 0.9, "validation": 0.2, "schedule": OneCycle(), "augment": AUGMENT}
MOMENTUM = partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)


@dataclass(frozen=True)
class Case:
    """A training of `epochs` epochs, and the batch after which its process is killed."""

    defense: Defense
    epoch: int = 3
    batch: int = 2
    epochs: int = 4
    settings: dict[str, Any] = field(default_factory=dict)
    threat: Threat = THREAT
    teaching: bool = False  # whether it is the teacher's batch
    writing: str = ""  # "checkpoint" or "network": it is killed not after the batch, but while it writes that


AT = AdversarialTraining(PGD(steps=2))
CASES = {
    "adversarial": Case(AT),
    "adversarial-everything": Case(AT, settings=EVERYTHING),
    "adversarial-in-the-first-epoch": Case(AT, epoch=1, settings=EVERYTHING),
    "adversarial-writing-the-checkpoint": Case(AT, settings=EVERYTHING, writing="checkpoint"),
    "adversarial-writing-the-network-of-the-last-epoch": Case(AT, epoch=4, writing="network"),
    "trades": Case(TRADES(attack=KL), settings=EVERYTHING),
    "trades-and-a-penalty-in-l2": Case(
        TRADES(attack=KL) + 0.1 * InputGradient(), settings={"optimizer": MOMENTUM, "clip": 1.0}, threat=L2(0.5)
    ),
    "awp": Case(AWP(TRADES(attack=KL)), settings={**EVERYTHING, "optimizer": MOMENTUM}),
    "free": Case(FreeAT(3), settings={"ema": 0.9, "radius": Linear(0.2, 1, until=0.8)}),
    "free-everything": Case(FreeAT(2), settings=EVERYTHING),
    "teacher": Case(Distillation(temperature=100), epoch=2, epochs=3, teaching=True, settings=EVERYTHING),
    "student": Case(Distillation(temperature=100), epoch=2, epochs=3, settings=EVERYTHING),
    "robust-teacher": Case(RobustDistillation(attack=KL), epoch=2, epochs=3, teaching=True, settings={"ema": 0.9}),
    "robust-student": Case(RobustDistillation(attack=KL), epoch=2, epochs=3, settings={"validation": 8}),
    # What it remembers is renewed at step 20, in epoch 7; it is killed with what was found at step 0.
    "liet": Case(LIET(), epoch=6, epochs=8, settings=EVERYTHING),
}


def run(case: Case, out: Path, progress: Callable[[Mapping[str, float]], None] | None = None) -> Trained:
    return train(
        Net(), (X, Y), case.defense, case.threat, epochs=case.epochs, batch_size=14, out=out, progress=progress,
        **case.settings,
    )  # fmt: skip


def run_until_killed(name: str, folder: str) -> None:
    """In a process of its own: the case's training, which kills itself."""
    case = CASES[name]

    def kill(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write_half(value: Any, file: Any) -> None:
        file.write(b"half a checkpoint")
        file.flush()
        kill()

    def progress(record: Mapping[str, float]) -> None:
        if (record["epoch"], record["batch"], "teacher" in record) == (case.epoch, case.batch, case.teaching):
            if case.writing == "checkpoint":
                torch.save = write_half
            elif case.writing == "network":
                safetensors.torch.save = kill
            else:
                kill()

    run(case, Path(folder) / name, progress)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a folder for each case, left behind by processes that were killed."""
    folder = tmp_path_factory.mktemp("killed")
    assert exits(__file__, "run_until_killed", folder, list(CASES)) == dict.fromkeys(CASES, -signal.SIGKILL)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_resuming_after_kill_9_equals_never_having_stopped(name: str, killed: Path, tmp_path: Path) -> None:
    case, out = CASES[name], killed / name
    # It was killed where it was meant to be: inside an epoch, with the epochs before that in the folder.
    place = out / "teacher" if case.teaching else out
    assert (place / "checkpoint.pt").exists() == (case.epoch > 1)
    assert case.epoch == 1 or len(kept(place)["history"]) == case.epoch - 1
    assert not (case.teaching and (out / "checkpoint.pt").exists())

    done: list[tuple[bool, float]] = []
    resumed = run(case, out, lambda record: done.append(("teacher" in record, record["epoch"])))
    assert done[0] == (case.teaching, case.epoch)
    whole = run(case, tmp_path)

    assert_equal(state(resumed.model), state(whole.model))
    assert without_seconds(resumed.history) == without_seconds(whole.history)
    assert (resumed.epoch, resumed.alarms) == (whole.epoch, whole.alarms)
    for place in [path.parent for path in tmp_path.rglob("checkpoint.pt")]:
        # Weights, buffers, moving average, optimizer, what the defense remembers, the best epoch.
        ours, theirs = kept(out / place.relative_to(tmp_path)), kept(place)
        ours["history"], theirs["history"] = without_seconds(ours["history"]), without_seconds(theirs["history"])
        assert_equal(ours, theirs)
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_the_checkpoints_compared_hold_what_they_are_to_show(tmp_path: Path) -> None:
    """An average, memory or best epoch that is missing, or not its own, would make the equality an easy one."""
    states = {}
    for name in ("free", "liet", "trades", "student", "awp"):
        run(CASES[name], tmp_path / name)
        states[name] = kept(tmp_path / name)
    assert states["free"]["memory"]["free noise"].abs().max() > 0.02
    assert states["liet"]["memory"]["liet informed"].shape == (3, 1, 4, 4)
    for name in ("liet", "trades", "student"):
        average, best = states[name]["average"]["tensors"], states[name]["best"]
        assert states[name]["average"]["updates"] == 3 * CASES[name].epochs
        assert best.keys() == average.keys() > {"calls", "frozen"}
        assert not torch.equal(average["calls"], states[name]["buffers"]["calls"])
        assert not torch.equal(average["body.1.running_mean"], states[name]["buffers"]["body.1.running_mean"])
    assert any(
        not torch.equal(s["best"]["calls"], s["average"]["tensors"]["calls"]) for s in states.values() if s["best"]
    )
    assert any("momentum_buffer" in entry for entry in states["awp"]["optimizer"]["state"].values())
    assert len(states["student"]["history"]) == len(kept(tmp_path / "student" / "teacher")["history"]) == 3

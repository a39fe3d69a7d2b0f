"""Two processes learn what one learns from the same batches. torchrun runs this very file, once for all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from models import relu
from runs import assert_equal, kept, state, two_processes, without_seconds
from sparring.attacks import PGD
from sparring.defenses import (
    AWP,
    LIET,
    NFGSM,
    TRADES,
    AdversarialTraining,
    Defense,
    Distillation,
    FreeAT,
    InputGradient,
    Standard,
)
from sparring.errors import ResumeError
from sparring.problem import Threat
from sparring.processes import Processes
from sparring.threats import L2, Linf
from sparring.training import OneCycle, PadCrop, Trained, train

pytestmark = pytest.mark.filterwarnings("ignore::sparring.training.TrainingAlarm")

ROWS = 41
X = torch.rand(ROWS, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0, :2].mean((1, 2)) > X[:, 0, 2:].mean((1, 2))).long() + (X[:, 0, 0, 0] > 0.8)
BATCH = 12  # 33 examples are left to learn from: three batches of 11, of which one process takes 6 and the other 5
WATCHED = {"validation": 8, "ema": 0.9, "lr": 0.03}
MOMENTUM = {"validation": 8, "ema": 0.9, "optimizer": partial(torch.optim.SGD, lr=0.5, momentum=0.9)}
AT = AdversarialTraining(PGD(steps=3))
KL = PGD(steps=3, objective="kl")
LINF = Linf(0.1)


@dataclass(frozen=True)
class Case:
    """A training that two processes and one both do."""

    defense: Defense
    settings: dict[str, Any] = field(default_factory=lambda: WATCHED)
    threat: Threat | None = LINF


CASES = {
    "standard": Case(Standard()),
    "standard-without-a-watch": Case(Standard(), {"lr": 0.03}, threat=None),
    "adversarial": Case(AT, WATCHED | {"schedule": OneCycle(), "augment": (PadCrop(1),), "clip": 0.1}),
    "trades-and-a-penalty": Case(TRADES(attack=KL) + 0.5 * InputGradient(), MOMENTUM),
    "awp": Case(AWP(TRADES(attack=KL)), MOMENTUM),
    "free": Case(FreeAT(3)),
    "free-in-l2": Case(FreeAT(3), threat=L2(0.5)),
    "liet": Case(LIET(), MOMENTUM),
    "n-fgsm": Case(NFGSM(), {"label_smoothing": 0.1, "lr": 0.03}),
    "distillation": Case(Distillation()),
}
RESUMED = ("adversarial", "free", "liet")
EPOCHS = 3


class Stop(Exception):
    """Raised from a progress callback, in the middle of an epoch."""


def run(name: str, out: Path | None, progress: Callable[[Mapping[str, float]], None] | None = None) -> Trained:
    case, net = CASES[name], relu(16, 3).double()
    with torch.no_grad():  # a script that draws its weights without a seed: those of the first process count
        for weight in net.parameters():
            weight.add_(float(os.environ.get("RANK", "0")))
    return train(
        net, (X, Y), case.defense, case.threat, epochs=EPOCHS, batch_size=BATCH, out=out, progress=progress,
        **case.settings,
    )  # fmt: skip


def stop(record: Mapping[str, float]) -> None:
    if (record["epoch"], record["batch"]) == (3, 1):
        raise Stop


def told(trained: Trained) -> dict[str, Any]:
    return {
        "state": {name: value.detach() for name, value in state(trained.model).items()},
        "history": without_seconds(trained.history),
        "epoch": trained.epoch,
    }


def train_all(folder: Path) -> None:
    """In each of the processes: every case, in a folder of the process's own, and some once more, interrupted."""
    rank = int(os.environ["RANK"])
    found = {name: told(run(name, folder / f"rank {rank}" / name)) for name in CASES}
    for name in RESUMED:
        try:
            run(name, folder / "shared" / name, stop)
        except Stop:
            found[f"resumed {name}"] = told(run(name, folder / "shared" / name))
    # A finished run is called again at once: the second process must find what the first has just written.
    found["again"] = told(run(RESUMED[0], folder / "shared" / RESUMED[0]))
    torch.save(found, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes trained all cases, `0.pt` and `1.pt` telling what each ended with."""
    return two_processes(__file__, tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_one_at_the_same_batches(name: str, both: list[dict[str, Any]]) -> None:
    one, two = told(run(name, None)), both[0][name]
    assert two["epoch"] == one["epoch"]
    assert any(
        bool(((one["state"][key] - value).abs() > 0.01).any()) for key, value in relu(16, 3).state_dict().items()
    )
    for key, value in one["state"].items():
        torch.testing.assert_close(two["state"][key], value, rtol=1e-10, atol=1e-10)
    for ours, theirs in zip(one["history"], two["history"], strict=True):
        assert theirs == pytest.approx(ours, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_both_processes_end_with_the_same_bits(name: str, both: list[dict[str, Any]]) -> None:
    assert_equal(both[0][name], both[1][name])


def test_only_the_first_process_writes(folder: Path) -> None:
    for name in CASES:
        assert {"checkpoint.pt", "metrics.jsonl", "model.safetensors"} <= set(os.listdir(folder / "rank 0" / name))
    assert (folder / "rank 0" / "distillation" / "teacher" / "checkpoint.pt").exists()
    assert not (folder / "rank 1").exists()


@pytest.mark.parametrize("name", RESUMED)
def test_two_processes_resume_to_the_last_bit(name: str, folder: Path, both: list[dict[str, Any]]) -> None:
    for rank in (0, 1):
        assert_equal(both[rank][f"resumed {name}"], both[rank][name])
    ours, theirs = (kept(folder / place / name) for place in ("shared", "rank 0"))
    ours["history"], theirs["history"] = without_seconds(ours["history"]), without_seconds(theirs["history"])
    assert_equal(ours, theirs)


def test_a_finished_run_is_found_by_every_process(both: list[dict[str, Any]]) -> None:
    for rank in (0, 1):
        assert_equal(both[rank]["again"], both[rank][RESUMED[0]])


def test_what_two_processes_began_one_cannot_go_on_with(folder: Path) -> None:
    with pytest.raises(ResumeError, match="there the number of processes is 2, here it is 1; go on with the same"):
        run("adversarial", folder / "shared" / "adversarial")


def test_the_rows_of_a_batch_are_dealt_out_in_order() -> None:
    batch = torch.arange(100, 111)
    parts = [Processes(rank, 4).rows(batch) for rank in range(4)]
    assert [place for place, _ in parts] == [0, 3, 6, 9]
    assert torch.equal(torch.cat([rows for _, rows in parts]), batch)
    assert max(len(rows) for _, rows in parts) - min(len(rows) for _, rows in parts) == 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    train_all(Path(sys.argv[1]))

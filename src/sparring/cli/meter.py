"""What is seen of a training: how far it is, its alarms, and what it came to."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.cli.terminal import Terminal, Update
from sparring.report.fitting import Fitting
from sparring.report.table import percent

if TYPE_CHECKING:
    from sparring.training import Trained


@dataclass
class Meter:
    """What `train` reports, as the share that is done of what this command has to do."""

    update: Update
    epochs: int
    lessons: int  # teachers to be trained first
    taught: int = 0
    begun: float | None = None
    last: float = 0.0
    share: float = 0.0
    sight: str = ""
    note: str = ""

    def __call__(self, record: Mapping[str, float]) -> None:
        teacher, epoch = "teacher" in record, record["epoch"]
        self.taught += teacher and epoch < self.last  # the next teacher has begun
        self.last = epoch
        before = (self.taught if teacher else self.lessons) * self.epochs
        batch = 1 / record["batches"]
        done = before + epoch - 1 + record["batch"] * batch
        if self.begun is None:
            self.begun = done - batch  # a resumed run has less to do
        if "robust_accuracy" in record:
            clean, robust = record["clean_accuracy"], record["robust_accuracy"]
            self.sight = f", clean {clean:.0%}, PGD-10 {robust:.0%}"
        sight = self.sight or f", learning {record['accuracy']:.0%}"
        whose = "teacher: " if teacher else ""
        self.note = f"{whose}epoch {epoch:g}/{self.epochs}, loss {record['loss']:.2f}{sight}"
        self.share = round((done - self.begun) / ((self.lessons + 1) * self.epochs - self.begun), 9)
        self.update(self.share, self.note)


@contextmanager
def alarms(terminal: Terminal) -> Iterator[list[str]]:
    """Alarms are told where everything else is, as they come; yields those told."""
    from sparring.training import TrainingAlarm

    told: list[str] = []
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, TrainingAlarm):
                told.append(str(message))
                terminal.warn(str(message))
            else:
                others(message, category, *where, **more)

        warnings.simplefilter("always", TrainingAlarm)
        warnings.showwarning = show
        yield told


def outcome(trained: Trained) -> Fitting:
    """The last epoch, and the best where that is another."""
    headings = ["", "epoch", "loss", "right while learning", "clean", "PGD-10", "time"]
    made = Fitting(headings, rank=[4, 3, 2, 5, 9, 9])
    seconds = 0.0
    for record in trained.history:
        seconds += record["seconds"]
        best, last = record["epoch"] == trained.epoch, record is trained.history[-1]
        if best or last:
            sights = (record.get(f"{kind}_accuracy") for kind in ("clean", "robust"))
            made.add(
                "kept" if best else "last",
                f"{record['epoch']:g}",
                f"{record['loss']:.3f}",
                percent(record["accuracy"]),
                *("–" if sight is None else percent(sight) for sight in sights),
                f"{seconds:.1f} s",
            )
    return made

"""What an evaluation found, as attributes, as a table, and on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from sparring.auditing.finding import Audit, Verdict
from sparring.auditing.probe import Evidence
from sparring.auditing.verdict import BATCHED, SWAYED, audited, believed
from sparring.errors import InputError
from sparring.evaluation.block import CLEAN, ROBUST, Block
from sparring.evaluation.curve import Point, Traced
from sparring.evaluation.export import export
from sparring.evaluation.header import OWN, Header, understanding_of
from sparring.evaluation.rung import Rung
from sparring.evaluation.stages import looked, rows
from sparring.files import written
from sparring.model import Model
from sparring.problem import Problem
from sparring.report.printable import clean, escaped
from sparring.sealed import seal_tensors
from sparring.statistics import clopper_pearson


@dataclass(frozen=True)
class Asked:
    """What a result is the answer to, where it was found in this session."""

    model: Model
    problem: Problem
    rungs: Sequence[Rung]


@dataclass(frozen=True)
class Result:
    """The worst case of every example over all attacks of a plan; with a curve, at the largest of its radii.

    Accuracies and `interval` are shares in [0, 1] of all examples, the ones wrong from the start included. Of a shard
    these are the examples of the shard.
    """

    block: Block = field(repr=False)
    header: Header = field(repr=False)
    audit: Audit | None = None
    asked: Asked | None = field(default=None, repr=False)

    def _known(self) -> Asked:
        if self.asked is None:
            raise InputError(
                "a merged result knows neither model nor inputs; call sp.evaluate with them and the merged folder as "
                "out, which attacks nothing again"
            )
        return self.asked

    @property
    def model(self) -> Model:
        """The model; InputError where the result was merged from folders. So are `problem` and `rungs`."""
        return self._known().model

    @property
    def problem(self) -> Problem:
        """The clean inputs, labels and regions."""
        return self._known().problem

    @property
    def rungs(self) -> Sequence[Rung]:
        """The attacks of the plan."""
        return self._known().rungs

    @property
    def index(self) -> Tensor:
        """(N,) the places of the examples in the data: all of them but for a shard."""
        return self.block.index

    @property
    def y(self) -> Tensor:
        """(N,) the labels."""
        return self.block.y

    @property
    def examples(self) -> int:
        """N."""
        return len(self.y)

    @property
    def x(self) -> Tensor:
        """(N, …) the verified adversarial example where `robust` is False, the input elsewhere."""
        return self.block.x

    @property
    def distance(self) -> Tensor:
        """(N,) from the input to x."""
        return self.block.distance

    @property
    def robust(self) -> Tensor:
        """(N,) bool: right, and no attack of the plan broke it; with targets, not at its target, nor brought there."""
        return self.block.broken_by == ROBUST

    @property
    def clean_accuracy(self) -> float:
        """The share whose clean input is given its label."""
        return float(self.block.correct.double().mean())

    @property
    def robust_accuracy(self) -> float:
        """At most this share withstands the threat: keeps its label or, with targets, does not reach its target."""
        return float(self.robust.double().mean())

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % Clopper-Pearson interval of the robust accuracy."""
        return clopper_pearson(int(self.robust.sum()), self.examples)

    @cached_property
    def curve(self) -> tuple[Point, ...] | None:
        """The robust accuracy at each radius asked for, in order; None where none were."""
        return self.block.curve(self.header["eps"]) if isinstance(self.block, Traced) else None

    @property
    def forwards(self) -> int:
        """Forward passes over all examples, the clean look and the verification included."""
        return self._total("forwards")

    @property
    def backwards(self) -> int:
        """Backward passes over all examples."""
        return self._total("backwards")

    @property
    def seconds(self) -> float:
        """Time in the attacks, the first look and the checks."""
        attacks = float(self.block.seconds.sum() + self.block.single_cost[:, :, 2].sum())
        return attacks + float(looked(self.header)["seconds"])

    def _total(self, passes: str) -> int:
        return sum(int(row[passes]) for row in self.table)

    @cached_property
    def _judgement(self) -> tuple[Verdict, tuple[str, ...]]:
        met, zero = self.block.backwards[:, 1:-1], self.block.zero_gradients[:, 1:-1]
        first = (met > 0).double().argmax(1, keepdim=True)
        asked, dead = met.gather(1, first).squeeze(1), zero.gather(1, first).squeeze(1)
        blind = (met.sum(1) > 0) & (zero.sum(1) == met.sum(1))
        correct = self.block.broken_by != CLEAN
        evidence = Evidence(*self.block.evidence.unbind(1))
        zeros = (asked > 0) & (dead == asked), blind
        attacks = self.header["attacks"]
        known = understanding_of(self.header)
        draws = max(self.header["model"]["eot"], 1 if known is None else known.eot)
        averaged = all(max(draws, attack.get("eot", 1)) > 1 for attack in attacks)
        # Of a curve, those that withstand any radius of it: each was checked at the largest that it withstands.
        stood = self.robust
        if isinstance(self.block, Traced):
            stood = self.block.falls > int(self.header["eps"][0] == 0)
        own = believed(correct, stood, *zeros, evidence, averaged, len(attacks), self._swayed)
        return own if self.audit is None else audited(own, self.audit, correct, self.robust)

    @property
    def _swayed(self) -> float:
        """Of the logits' spread, by how much an example alone differs from itself in a batch, beyond rounding."""
        coarse = self.header["model"]["dtype"] in ("float16", "bfloat16")
        alone = self.header["answers"]["alone"]
        return alone if alone is not None and alone > (SWAYED if coarse else BATCHED) else 0.0

    @property
    def verdict(self) -> Verdict:
        """May the robust accuracy be believed? From what the plan's attacks met, the checks after it, and the audit."""
        return self._judgement[0]

    @cached_property
    def findings(self) -> list[str]:
        """What a reader should know before believing the number."""
        found = []
        if self.header["shard"] is not None:
            every = self.header["data"]["examples"]
            found.append(
                f"This is shard {self.header['shard']}: {self.examples:,} of {every:,} examples. Join it with the "
                "others: sparring merge."
            )
        if bool(self.block.probabilities.any()):
            found.append("The network returns probabilities; attacks climbed log p. Give logits if you can.")
        return [*found, *self._judgement[1]]

    @cached_property
    def table(self) -> list[dict[str, Any]]:
        """One entry a stage, in order: accuracy after it, how many fell to it, and what it cost; see `stages.rows`."""
        return rows(self.block, self.header)

    def records(self) -> dict[str, Any]:
        """Plain data: what results.json holds."""
        return {
            "examples": self.examples,
            "clean_accuracy": self.clean_accuracy,
            "robust_accuracy": self.robust_accuracy,
            "interval": list(self.interval),
            "curve": None if self.curve is None else [point.records() for point in self.curve],
            "distance": self._distances(),
            "verdict": self.verdict,
            "findings": self.findings,
            "forwards": self.forwards,
            "backwards": self.backwards,
            "seconds": round(self.seconds, 3),
            "table": self.table,
            "audit": None if self.audit is None else self.audit.records(),
            **{name: value for name, value in self.header.items() if name not in OWN},
        }

    def _distances(self) -> dict[str, float] | None:
        """Over the examples that an attack broke."""
        found = self.distance[self.block.broken_by > CLEAN].double()
        if not len(found):
            return None
        return {"mean": float(found.mean()), "median": float(found.median()), "largest": float(found.max())}

    def save(self, folder: str | Path) -> None:
        """Write results.json and adversarial.safetensors: index, x, y, robust, broken_by, distance of every example.

        With a curve also falls_at: the smallest of its radii at which the example falls, 0 where it is wrong from the
        start, inf where it withstands all.
        """
        folder = Path(folder)
        tensors = {
            "index": self.index,
            "x": self.x.contiguous(),
            "y": self.y.contiguous(),
            "robust": self.robust,
            "broken_by": self.block.broken_by,
            "distance": self.distance,
        }
        if isinstance(self.block, Traced):
            tensors["falls_at"] = self.block.falls_at(self.header["eps"]).where(self.block.broken_by != CLEAN, 0)
        written(folder / "adversarial.safetensors", seal_tensors(tensors, {"run": self.header["run"]}))
        written(folder / "results.json", json.dumps(self.records(), indent=2).encode())

    def export(self, folder: str | Path) -> dict[str, Any]:
        """Write the adversarial examples as npz and, where they are images, as 8-bit PNG; see `export`.

        Raises InputError for a merged result.
        """
        broken = (self.block.broken_by > CLEAN).nonzero().squeeze(1)
        return export(Path(folder), self.model, self.problem.take(broken), self.x[broken])

    def __str__(self) -> str:
        low, high = self.interval
        lines = [
            f"{escaped(row['name']):<18}{_accuracy(row):>8}  {'broke' if row['interval'] else '':<5} "
            f"{row['broke'] if row['interval'] else '':>5}  {row['forwards']:>9,} forwards "
            f"{row['backwards']:>9,} backwards {row['seconds']:>8.1f} s"
            for row in self.table
            if row["reason"] is None
        ]
        lines += [
            f"{escaped(row['name']):<18} not run: {row['reason']}" for row in self.table if row["reason"] is not None
        ]
        share = f"{self.robust_accuracy:.2%} [{low:.2%}, {high:.2%}]"
        worst = f"robust accuracy at most {share} on {self.examples} examples; {self.verdict}"
        return clean("\n".join([*lines, worst, *self.findings]))


def _accuracy(row: dict[str, Any]) -> str:
    return "" if row["robust_accuracy"] is None else f"{row['robust_accuracy']:.2%}"

"""What an evaluation found, as attributes, as a table, and on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from sparring.auditing.finding import Audit, Verdict
from sparring.auditing.probe import Evidence
from sparring.auditing.verdict import audited, believed
from sparring.errors import InputError
from sparring.evaluation.block import CLEAN, ROBUST, Block
from sparring.evaluation.curve import Point, Traced
from sparring.evaluation.export import export
from sparring.evaluation.header import Header, understanding_of
from sparring.evaluation.rung import Rung
from sparring.files import written
from sparring.model import Model
from sparring.problem import Problem
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
        """(N,) bool: right, and no attack of the plan broke it."""
        return self.block.broken_by == ROBUST

    @property
    def clean_accuracy(self) -> float:
        return float((self.block.broken_by != CLEAN).double().mean())

    @property
    def robust_accuracy(self) -> float:
        """At most this share withstands the threat."""
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
        return int(self.block.forwards.sum()) + self._learning[0]

    @property
    def backwards(self) -> int:
        """Backward passes over all examples."""
        return int(self.block.backwards.sum()) + self._learning[1]

    @property
    def _learning(self) -> tuple[int, int]:
        """Forward and backward passes of the first look at the network."""
        known = understanding_of(self.header)
        return (0, 0) if known is None else (known.forwards, known.backwards)

    @property
    def seconds(self) -> float:
        """Time in the attacks."""
        return float(self.block.seconds.sum())

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
        own = believed(correct, stood, *zeros, evidence, averaged, len(attacks))
        return own if self.audit is None else audited(own, self.audit, correct, self.robust)

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
        """One entry a rung, in order: accuracy after it, how many only it broke, and what it cost."""
        rows = []
        for number, rung in enumerate([{"name": "clean", "attack": None}, *self.header["attacks"]]):
            standing = (self.block.broken_by == ROBUST) | (self.block.broken_by > number)
            rows.append(
                {
                    "name": rung["name"],
                    "attack": rung["attack"],
                    "robust_accuracy": float(standing.double().mean()),
                    "interval": list(clopper_pearson(int(standing.sum()), self.examples)),
                    "broke": int((self.block.broken_by == number).sum()),
                    **self._spent(number),
                }
            )
        return rows

    def _spent(self, number: int) -> dict[str, Any]:
        return {
            "forwards": int(self.block.forwards[:, number].sum()),
            "backwards": int(self.block.backwards[:, number].sum()),
            "seconds": round(float(self.block.seconds[:, number].sum()), 3),
        }

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
            "checks": self._spent(1 + len(self.header["attacks"])),
            "audit": None if self.audit is None else self.audit.records(),
            **self.header,
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
        written(folder / "adversarial.safetensors", safetensors.torch.save(tensors))
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
            f"{row['name']:<18}{row['robust_accuracy']:>8.2%}  broke {row['broke']:>5}  "
            f"{row['forwards']:>9,} forwards {row['backwards']:>9,} backwards {row['seconds']:>8.1f} s"
            for row in self.table
            if row["forwards"]
        ]
        share = f"{self.robust_accuracy:.2%} [{low:.2%}, {high:.2%}]"
        worst = f"robust accuracy at most {share} on {self.examples} examples; {self.verdict}"
        return "\n".join([*lines, worst, *self.findings])

"""Rows of a table and lines of a ledger add up to the totals, and these to what the network saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from models import seeded
from sparring.evaluation import Result

X = torch.rand(20, 6, generator=torch.Generator().manual_seed(1))
PASSES = ("forwards", "backwards")
OWN = (sp.FGSM(), sp.PGD(steps=4, restarts=2), sp.APGD(steps=5, n_targets=2), sp.Square(queries=30))


class Tally:
    """How many examples went through a network, forward and back; its copies count together."""

    forwards = backwards = 0

    def __deepcopy__(self, memo: object) -> Tally:
        return self

    def back(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


class Counted(nn.Module):
    """One hidden layer. Checks that look at a layer alone make no pass of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.tally = Tally()
        self.hidden, self.last = nn.Linear(6, 24), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.tally.forwards += len(x)
        if x.requires_grad:
            x.register_hook(self.tally.back)
        return self.last(torch.relu(self.hidden(8 * x - 4)))


def counted() -> tuple[nn.Module, Tally]:
    net = seeded(Counted, 0)
    return net, net.tally


def labels() -> Tensor:
    with torch.no_grad():
        y = counted()[0](X).argmax(1)
    y[[2, 11]] = (y[[2, 11]] + 1) % 3
    return y


def evaluated(out: Path | None = None, plan: Any = OWN, **changes: Any) -> tuple[Result, Tally]:
    (net, tally), threat = counted(), changes.pop("threat", sp.Linf(0.06))
    result = sp.evaluate(net, (X, labels()), threat, plan, out=out, batch_size=6, **changes)
    return result, tally


def sums(rows: Any) -> tuple[int, int]:
    found = list(rows)
    return sum(row["forwards"] for row in found), sum(row["backwards"] for row in found)


def assert_adds_up(result: Result) -> None:
    total = result.forwards, result.backwards
    assert sums(result.table) == total
    told = result.records()
    assert sums(told["table"]) == (told["forwards"], told["backwards"]) == total


@pytest.mark.parametrize("plan", ["quick", "standard", "cr", "own"])
def test_rows_add_up_to_the_totals_and_these_to_what_the_network_saw(plan: str, tmp_path: Path) -> None:
    result, tally = evaluated(tmp_path, OWN if plan == "own" else plan, limit=None if plan == "own" else 8)
    assert_adds_up(result)
    assert (tally.forwards, tally.backwards) == (result.forwards, result.backwards)
    assert {row["name"] for row in result.table} >= {"clean", "first look"}
    lines = list(map(json.loads, (tmp_path / "ledger.jsonl").read_text().splitlines()))
    assert sums(lines) == (result.forwards, result.backwards)
    for row in result.table:  # and so it is stage by stage
        assert sums(line for line in lines if line["rung"] == row["name"]) == (row["forwards"], row["backwards"])


@pytest.mark.parametrize(
    "changes",
    [
        {"individual": True},
        {"targets": (labels() + 1) % 3},
        {"threat": sp.Linf(), "eps": "0:0.1:4"},
        {"threat": sp.L2(0.1)},
        {"limit": 7},
    ],
    ids=["each alone", "targets", "curve", "l2", "limit"],
)
def test_so_they_do_however_it_is_asked(changes: dict[str, Any]) -> None:
    result, tally = evaluated(**changes)
    assert_adds_up(result)
    assert (tally.forwards, tally.backwards) == (result.forwards, result.backwards)


def test_a_run_that_went_on_has_the_table_of_one_that_was_never_stopped(tmp_path: Path) -> None:
    whole, _ = evaluated(tmp_path / "whole")
    evaluated(tmp_path / "parts", shard=(1, 2))
    (tmp_path / "parts" / "blocks" / "000002.safetensors").unlink()
    evaluated(tmp_path / "other", shard=(2, 2))
    evaluated(tmp_path / "parts", shard=(1, 2))
    merged = sp.merge([tmp_path / "parts", tmp_path / "other"], tmp_path / "merged")
    assert_adds_up(merged)
    timeless = [[{k: v for k, v in row.items() if k != "seconds"} for row in one.table] for one in (whole, merged)]
    assert timeless[0] == timeless[1]


def test_a_shard_counts_its_own_examples(tmp_path: Path) -> None:
    parts = [evaluated(tmp_path / f"{n}", shard=(n, 2))[0] for n in (1, 2)]
    whole, _ = evaluated()
    looked = next(row for row in whole.table if row["name"] == "first look")
    for part in parts:
        assert_adds_up(part)
    # Each looks at the network first; all else is shared out.
    for what in PASSES:
        assert sum(getattr(part, what) for part in parts) == getattr(whole, what) + looked[what]

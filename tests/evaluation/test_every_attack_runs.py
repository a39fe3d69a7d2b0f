"""A plan runs what it lists: zero gradients hold for their objective alone, and what was not run says so."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from math import inf
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from models import relu
from sparring.evaluation import PLANS, Result, Rung
from typed import Type

X = torch.rand(24, 6, generator=torch.Generator().manual_seed(1))
EPS = sp.Linf(0.08)


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.net, self.factor = relu(6, 3), factor

    def forward(self, x: Tensor) -> Tensor:
        return self.net(8 * x - 4) * self.factor


def net(factor: float = 1.0) -> nn.Module:
    """A small network whose logits are multiplied."""
    return Scaled(factor)


def evaluated(model: nn.Module, plan: Any, **changes: Any) -> Result:
    """On what the network says, so that all are right."""
    with torch.no_grad():
        y = model(X).argmax(1)
    return sp.evaluate(model, (X, y), changes.pop("threat", EPS), plan, batch_size=24, **changes)


def by_name(result: Result) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in result.table}


SATURATED = net(1e5)  # cross-entropy of its logits has a gradient of exactly zero, nearly everywhere


def test_cross_entropy_has_no_gradient_there() -> None:
    x = X.clone().requires_grad_(True)
    loss = nn.functional.cross_entropy(SATURATED(x), SATURATED(x).argmax(1))
    assert int(torch.autograd.grad(loss, x)[0].count_nonzero()) == 0


def test_the_last_attack_of_quick_finds_what_it_finds_alone() -> None:
    last = PLANS["quick"]("linf")[-1]
    alone = evaluated(SATURATED, [last])
    whole = evaluated(SATURATED, "quick")
    assert 0 < alone.robust_accuracy < 0.9
    assert not (whole.robust & ~alone.robust).any()
    row = by_name(whole)[last.name]
    assert row["examples"] == round(by_name(whole)["APGD-CE"]["robust_accuracy"] * len(X)) > 0
    assert row["broke"] > 0


def test_scaled_logits_do_not_look_robust() -> None:
    plain, scaled = (evaluated(net(factor), "quick").robust_accuracy for factor in (1.0, 1e5))
    assert scaled == pytest.approx(plain, abs=1 / 24)
    assert plain < 0.9


@pytest.mark.parametrize(
    "before", [[sp.FGSM(), sp.PGD()], [sp.PGD(), sp.APGD()], [sp.PGD(), sp.PGD(restarts=2), sp.FGSM()]]
)
def test_attacks_on_cross_entropy_take_nothing_from_one_on_the_margin(before: list[Any]) -> None:
    margin = Rung("margin", sp.PGD(objective="margin"))
    alone, after = evaluated(SATURATED, [margin]), evaluated(SATURATED, [*before, margin])
    assert torch.equal(alone.robust, after.robust)
    assert not alone.robust.all()


# Every row that stands gets every attack: recounted from the ledger.


def taken(folder: Path) -> dict[int, list[tuple[str, bool]]]:
    """By example: the attacks that took it, in order, and whether it fell."""
    found: dict[int, list[tuple[str, bool]]] = {index: [] for index in range(len(X))}
    for line in map(json.loads, (folder / "ledger.jsonl").read_text().splitlines()):
        if line["index"] is not None and line["rung"] not in ("clean", "checks"):
            found[line["index"]].append((line["rung"], line["fell"]))
    return found


class Flat(nn.Module):
    """Its input gradient is there, and zero whatever is climbed."""

    def forward(self, x: Tensor) -> Tensor:
        return net()(x.detach()) + 0 * x.sum(1, keepdim=True)


NETWORKS = {"plain": net(), "saturated": SATURATED, "flat": Flat()}
OWN = (sp.FGSM(), sp.PGD(steps=3), sp.APGD(steps=5), sp.CosinePGD(), sp.Square(queries=10))


@pytest.mark.parametrize(
    ("plan", "network"),
    [
        ("quick", "plain"),
        ("own", "plain"),
        *product(["quick", "own", "cr"], ["saturated", "flat"]),
        ("autoattack", "flat"),
    ],
)
def test_every_example_that_stands_gets_every_attack(plan: str, network: str, tmp_path: Path) -> None:
    listed: Any = OWN if plan == "own" else PLANS[plan]("linf")
    if plan == "autoattack":  # nothing else of it is long
        listed = [*listed[:-1], replace(listed[-1], attack=sp.Square(queries=100))]
    result = evaluated(NETWORKS[network], listed, out=tmp_path)
    names = [row["name"] for row in result.table if row["attack"]]
    assert len(names) == {"quick": 4, "autoattack": 4, "own": 5, "cr": 2}[plan]
    for index, attacks in taken(tmp_path).items():
        fell = [name for name, fell in attacks if fell]
        until = names.index(fell[0]) + 1 if fell else len(names)
        assert [name for name, _ in attacks] == names[:until]
        assert bool(result.robust[index]) == (not fell)


@pytest.mark.parametrize("factor", [1.0, 1e5])
def test_a3_gives_every_example_its_first_rounds_and_takes_less_and_less_from_then_on(
    factor: float, tmp_path: Path
) -> None:
    """Its paper discards none before the fourth round; the scale of the logits has no say."""
    evaluated(net(factor), "a3", out=tmp_path)
    first = ["round 1", "round 2", "round 3"]
    later = 0
    for attacks in taken(tmp_path).values():
        fell = [name for name, fell in attacks if fell]
        until = first[: first.index(fell[0]) + 1] if fell and fell[0] in first else first
        assert [name for name, _ in attacks][: len(until)] == until
        later += len(attacks) - len(until)
    assert later > 0


def test_autoattack_gives_every_example_to_every_attack_in_all_its_versions() -> None:
    for name in ("autoattack", "autoattack-plus", "autoattack-rand", "quick"):
        assert not any(rung.ruled for norm in ("linf", "l2", "l1") for rung in PLANS[name](norm))


def test_only_plans_that_look_at_the_network_first_skip_attacks_for_zero_gradients() -> None:
    """AutoAttack, A³ and CR know no such rule."""
    for name, plan in PLANS.items():
        ruled = any(rung.max_zero_gradients < inf for norm in ("linf", "l2") for rung in plan(norm))
        assert ruled == (name in ("standard", "thorough"))


class Switched(nn.Module):
    """A network whose logits saturate when it is asked for chosen ones of its gradients, counted from 0."""

    def __init__(self, zero: set[int]) -> None:
        super().__init__()
        self.net, self.zero, self.asked = net(), zero, 0

    def forward(self, x: Tensor) -> Tensor:
        factor = 1.0
        if x.requires_grad:
            factor = 1e5 if self.asked in self.zero else 1.0
            self.asked += 1
        return self.net(x) * factor


@pytest.mark.parametrize(
    ("zero", "runs"),
    [
        (set(), ["a", "b", "c", "d"]),
        ({0}, ["a", "b", "c", "d"]),
        ({0, 1}, ["a", "b"]),  # two in a row: no third, nor a fourth
        ({0, 2}, ["a", "b", "c", "d"]),  # the gradient between them ended the count
        ({1, 2}, ["a", "b", "c"]),
    ],
)
def test_a_count_of_zero_gradients_ends_at_the_first_that_is_not(zero: set[int], runs: list[str]) -> None:
    plan = [Rung(name, sp.FGSM(), max_zero_gradients=1) for name in "abcd"]
    result = evaluated(Switched(zero), plan, threat=sp.Linf(1e-6))
    ran = [row["name"] for row in result.table if row["attack"] and row["examples"]]
    assert ran == runs
    for row in result.table:
        if row["attack"] and row["name"] not in runs:
            assert "every gradient of this objective was zero" in row["reason"]


def test_zero_gradients_of_one_objective_say_nothing_of_another() -> None:
    plan = [
        *(Rung(name, sp.FGSM(), max_zero_gradients=1) for name in "abc"),
        Rung("margin", sp.FGSM(objective="margin"), max_zero_gradients=1),
        Rung("of chosen classes", sp.PGD(steps=2, n_targets=1), max_zero_gradients=1),
        Rung("mine", sp.FGSM(objective=lambda logits, goal: -logits.amax(1)), max_zero_gradients=1),
    ]
    rows = by_name(evaluated(SATURATED, plan, threat=sp.Linf(1e-6)))
    assert [name for name, row in rows.items() if row["attack"] and not row["examples"]] == ["c"]


# What was not run says so, everywhere.


def test_a_stage_that_took_no_example_shows_no_accuracy(tmp_path: Path) -> None:
    result = evaluated(net(), [sp.FGSM(), sp.PGD(steps=3), sp.Square(queries=10)], threat=sp.Linf(1.0), out=tmp_path)
    assert result.robust_accuracy == 0
    kept = json.loads((tmp_path / "results.json").read_text())["table"]
    lines = list(map(json.loads, (tmp_path / "ledger.jsonl").read_text().splitlines()))
    empty = [row["name"] for row in result.table if row["attack"] and not row["forwards"]]
    assert empty
    for rows in (result.table, kept):
        for row in rows:
            if row["name"] in empty:
                assert row["robust_accuracy"] is None
                assert row["interval"] is None
                assert row["reason"] == "no example was left standing"
                assert row["forwards"] == row["backwards"] == 0
    for name in empty:
        told = [line for line in lines if line["rung"] == name]
        assert [(line["index"], line["status"], line["reason"], line["forwards"]) for line in told] == [
            (None, "not run", "no example was left standing", 0)
        ]
    shown = str(result)
    for name in empty:
        row = next(line for line in shown.splitlines() if line.strip().startswith(name))
        assert "%" not in row
    assert all(f"{name} not run: no example was left standing" in " ".join(shown.split()) for name in empty)


def test_attacks_without_a_gradient_to_follow_say_so() -> None:
    class Rounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return net()(x.detach())

    result = evaluated(Rounded(), [sp.FGSM(), sp.Square(queries=20)])
    row = by_name(result)["FGSM(objective='cross_entropy', clip=True)"]
    assert (row["examples"], row["robust_accuracy"], row["no_gradient"]) == (0, None, len(X))
    assert row["reason"] == "there is no input gradient that it could follow"
    black_box = next(row for row in result.table if row["name"].startswith("Square"))
    assert (black_box["examples"], black_box["no_gradient"], black_box["reason"]) == (len(X), 0, None)
    assert black_box["robust_accuracy"] == result.robust_accuracy


@pytest.mark.parametrize("plan", ["standard", "thorough"])
def test_every_stage_of_a_ruled_plan_has_run_or_says_why_not(plan: str) -> None:
    result = evaluated(net(), plan)
    attacks = [row for row in result.table if row["attack"]]
    assert any(row["reason"] for row in attacks)
    for row in attacks:
        assert (row["examples"] == 0) == (row["robust_accuracy"] is None) == bool(row["reason"])
        assert row["examples"] or row["forwards"] == row["backwards"] == row["broke"] == 0


def test_the_command_line_shows_it_too(type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = type_("evaluate --model zoo:digits-mlp --threat linf:1 --plan quick --limit 10 --no-save")
    row = next(line for line in said.out.splitlines() if "APGD-DLR-T" in line)
    assert "%" not in row
    assert "not run, since no example was left standing" in " ".join(said.out.split())


def test_without_an_attack_that_needs_none_a_missing_gradient_is_an_error() -> None:
    class Rounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return net()(x.detach())

    for plan in ([sp.FGSM()], [sp.FGSM(), sp.PGD(steps=2)]):
        with pytest.raises(sp.errors.NoGradient):
            evaluated(Rounded(), plan)
    assert evaluated(Rounded(), [sp.Square(queries=20)]).robust_accuracy < 1

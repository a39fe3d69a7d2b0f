"""AutoAttack's plans: the published settings, the passes they come to, few classes, and randomised networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from hiding import Before, Noise
from models import linear
from reference import to_boundary
from sparring.evaluation import PLANS, Rung
from sparring.model import Model

THREATS = {"linf": sp.Linf, "l2": sp.L2, "l1": sp.L1}
WIDE = (-20.0, 20.0)


def examples(classes: int, rows: int = 12) -> tuple[nn.Module, Tensor, Tensor]:
    """A linear network, points far from the edges of `WIDE`, and what the network says of them."""
    net = linear(16, classes, seed=classes)
    x = torch.randn(rows, 16, generator=torch.Generator().manual_seed(1))
    return net, x, net(x).argmax(1)


def told(plan: str, norm: str) -> list[str]:
    """Name, then the settings that matter, of every rung."""
    names = ("steps", "queries", "p", "horizon", "objective", "restarts", "n_targets", "final")
    shown = []
    for rung in PLANS[plan](norm):
        values = {name: getattr(rung.attack, name) for name in names if hasattr(rung.attack, name)}
        shown.append(f"{rung.name} x{rung.eot or 1}: " + " ".join(f"{name}={value}" for name, value in values.items()))
    return shown


def apgd(name: str, objective: str, restarts: int, n_targets: int, eot: int = 1) -> str:
    return f"{name} x{eot}: steps=100 objective={objective} restarts={restarts} n_targets={n_targets}"


def fab(name: str, restarts: int, n_targets: int) -> str:
    return f"{name} x1: steps=100 restarts={restarts} n_targets={n_targets} final=0"


SQUARE = "Square x1: queries=5000 p=0.8 horizon=10000 objective=margin restarts=1"


@pytest.mark.parametrize("norm", THREATS)
def test_the_settings_are_the_published_ones(norm: str) -> None:
    first, classes = (5, 5) if norm == "l1" else (1, 9)
    assert told("autoattack", norm) == [
        apgd("APGD-CE", "cross_entropy", first, 0),
        apgd("APGD-T", "dlr", 1, classes),
        fab("FAB-T", 1, 9),
        SQUARE,
    ]
    assert told("autoattack-plus", norm) == [
        apgd("APGD-CE", "cross_entropy", 5, 0),
        apgd("APGD-DLR", "dlr", 5, 0),
        fab("FAB", 5, 0),
        SQUARE,
        apgd("APGD-T", "dlr", 1, 9),
        fab("FAB-T", 1, 9),
    ]
    assert told("autoattack-rand", norm) == [
        apgd("APGD-CE", "cross_entropy", 1, 0, eot=20),
        apgd("APGD-DLR", "dlr", 1, 0, eot=20),
    ]


@pytest.mark.parametrize(("norm", "classes"), [("linf", 2), ("l2", 3), ("l1", 2), ("linf", 5)])
def test_on_a_linear_network_of_few_classes_it_is_right_about_every_example(norm: str, classes: int) -> None:
    net, x, y = examples(classes)
    exact = to_boundary(norm, net, x)
    times = np.where(np.arange(len(x)) % 3 == 0, 0.98, 1.02)
    threat = THREATS[norm](torch.from_numpy(times * exact).float())
    result = sp.evaluate(sp.Model(net, bounds=WIDE), (x, y), threat, plan="autoattack")
    assert result.robust.tolist() == (times < 1).tolist()


def test_what_survives_costs_what_the_docstring_says() -> None:
    net, x, y = examples(10, rows=3)
    result = sp.evaluate(sp.Model(net, bounds=WIDE), (x, y), sp.Linf(1e-6), plan="autoattack")
    assert bool(result.robust.all())
    # The clean look and the four rungs; after them come the checks of what stands.
    assert result.block.forwards[:, :-1].sum(1).tolist() == [7811] * 3
    assert result.block.backwards[:, :-1].sum(1).tolist() == [1900] * 3
    assert "7,811 forwards and 1,900 backwards" in (PLANS["autoattack"].__doc__ or "")


def test_l0_is_refused_for_there_is_no_such_autoattack() -> None:
    net, x, y = examples(3)
    with pytest.raises(sp.InputError, match="APGD has no form for L0"):
        sp.evaluate(net, (x.clamp(0, 1), y), sp.L0(1), plan="autoattack")


def test_a_rung_looks_with_as_many_draws_as_it_asks_for_and_never_fewer_than_the_model() -> None:
    model = sp.Model(linear(4, 2), eot=3)
    assert Rung("a", sp.PGD()).view(model) is model
    assert Rung("a", sp.PGD(), eot=2).view(model) is model
    assert Rung("a", sp.PGD(), eot=7).view(model).eot == 7
    assert Rung("a", sp.PGD()).records() == {"name": "a", "attack": repr(sp.PGD())}
    assert Rung("a", sp.PGD(), eot=7).records()["eot"] == 7


def test_a_random_network_is_attacked_through_the_mean_of_its_draws(tmp_path: Path) -> None:
    net, x, y = examples(2, rows=60)
    exact = torch.from_numpy(to_boundary("linf", net, x))
    x, y, exact = x[exact > 0.05], y[exact > 0.05], exact[exact > 0.05]
    hidden = Before(Noise(0.05), net)
    threat = sp.Linf(torch.where(torch.arange(len(x)) % 2 == 0, 2 * exact, 0.2 * exact).float())
    plan = [Rung("PGD", sp.PGD(steps=10), eot=20), Rung("again", sp.PGD(steps=10, objective="margin"), eot=20)]
    result = sp.evaluate(Model(hidden, bounds=WIDE), (x, y), threat, plan, out=tmp_path)
    stands = result.block.broken_by == -1
    assert result.block.backwards[stands, 1].tolist() == [10 * 20] * int(stands.sum())
    assert result.block.forwards[stands, 1].tolist() == [11 * 20] * int(stands.sum())
    assert result.block.forwards[:, 0].tolist() == [1] * len(x)
    assert float((result.robust == (torch.arange(len(x)) % 2 == 1)).double().mean()) >= 0.9
    assert not any("logits are random" in told for told in result.findings)
    bare = sp.evaluate(Model(hidden, bounds=WIDE), (x, y), threat, [sp.PGD(steps=10), sp.FGSM()])
    assert any("logits are random" in told for told in bare.findings)
    with pytest.raises(sp.ResumeError, match="attacks"):
        sp.evaluate(Model(hidden, bounds=WIDE), (x, y), threat, [Rung(r.name, r.attack) for r in plan], out=tmp_path)

"""Attacks against the truth: on a linear classifier the distance to the boundary is |w·x + b| / ||w||_dual."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from models import linear
from reference import Array, fewest_features, to_boundary
from sparring.attacks import Attack

THREATS = {"linf": sp.Linf, "l2": sp.L2, "l1": sp.L1}
NORMS = pytest.mark.parametrize("norm", THREATS)
NO_BOX = (-float("inf"), float("inf"))


def examples(classes: int, rows: int, features: int = 24) -> tuple[nn.Module, Tensor, Tensor]:
    """A linear network, points around the origin, and what the network says of them."""
    net = linear(features, classes, seed=classes)
    x = torch.randn(rows, features, generator=torch.Generator().manual_seed(1))
    return net, x, net(x).argmax(1)


def broken(attack: Attack, norm: str, classes: int, times: float) -> float:
    """The share of 200 examples broken at `times` their exact distance."""
    net, x, y = examples(classes, 200)
    exact = to_boundary(norm, net, x)
    threat = THREATS[norm](torch.from_numpy(times * exact).float())
    return float(attack(sp.Model(net, bounds=NO_BOX), x, y, threat).success.double().mean())


@NORMS
@pytest.mark.parametrize("attack", [sp.PGD(), sp.APGD()], ids=["pgd", "apgd"])
def test_with_two_classes_the_defaults_break_just_beyond_the_boundary_and_never_before(
    attack: Attack, norm: str
) -> None:
    assert broken(attack, norm, 2, 1.02) >= 0.99
    assert broken(attack, norm, 2, 0.98) == 0


@NORMS
@pytest.mark.parametrize(
    "attack",
    [sp.APGD(objective="margin", n_targets=4), sp.APGD(objective="dlr", n_targets=4), sp.PGD(objective="margin", n_targets=4)],
    ids=["apgd-margin", "apgd-dlr", "pgd-margin"],
)
def test_with_five_classes_targets_break_just_beyond_the_boundary_and_never_before(
    attack: Attack, norm: str
) -> None:
    assert broken(attack, norm, 5, 1.02) >= 0.99
    assert broken(attack, norm, 5, 0.98) == 0


@NORMS
@pytest.mark.parametrize("name", ["pgd", "apgd"])
def test_with_five_classes_no_default_breaks_before_the_boundary(name: str, norm: str) -> None:
    assert broken(sp.attacks.available()[name](), norm, 5, 0.98) == 0


def found(attack: sp.CarliniWagner, norm: str, classes: int, rows: int) -> tuple[Array, Array]:
    """The attack's distances and the exact ones, every example broken."""
    net, x, y = examples(classes, rows)
    out = attack(sp.Model(net, bounds=(-20.0, 20.0)), x, y, THREATS[norm]())
    assert bool(out.success.all())
    return out.distance.double().numpy(), to_boundary(norm, net, x)


@pytest.mark.parametrize("classes", [2, 5])
def test_carlini_wagner_l2_comes_within_3_percent_in_5_searches_of_100_steps(classes: int) -> None:
    attack = sp.CarliniWagner(searches=5, steps=100, initial_c=1e-2)
    distance, exact = found(attack, "l2", classes, 16)
    assert (distance >= exact * (1 - 1e-5)).all()
    assert (distance <= exact * 1.03).all()


def test_carlini_wagner_linf_comes_within_12_percent_as_published_and_5_bisected() -> None:
    for tau, slack in [("decay", 1.12), ("bisect", 1.05)]:
        distance, exact = found(sp.CarliniWagner(steps=100, tau=tau), "linf", 3, 8)  # type: ignore[arg-type]
        assert (distance >= exact * (1 - 1e-5)).all()
        assert (distance <= exact * slack).all()


def test_carlini_wagner_l0_needs_at_most_one_feature_more_than_the_greedy_count() -> None:
    net = linear(24, 3, seed=3)
    x = torch.rand(16, 24, generator=torch.Generator().manual_seed(2))
    out = sp.CarliniWagner(steps=100)(net, x, net(x).argmax(1), sp.L0())
    least = fewest_features(net, x, 0, 1)
    reachable = np.isfinite(least)
    assert reachable.sum() >= 12
    assert np.array_equal(out.success.numpy(), reachable)
    distance = out.distance.numpy()[reachable]
    assert (distance >= least[reachable]).all()
    assert (distance <= least[reachable] + 1).all()

"""Attacks against the truth: on a linear classifier the distance to the boundary is |w·x + b| / ||w||_dual."""

from __future__ import annotations

from typing import Literal

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
    [sp.APGD(objective="dlr", n_targets=4), sp.PGD(objective="margin", n_targets=4)],
    ids=["apgd-dlr", "pgd-margin"],
)
def test_with_five_classes_targets_break_just_beyond_the_boundary_and_never_before(attack: Attack, norm: str) -> None:
    assert broken(attack, norm, 5, 1.02) >= 0.99
    assert broken(attack, norm, 5, 0.98) == 0


@NORMS
@pytest.mark.parametrize("name", ["pgd", "apgd"])
def test_with_five_classes_no_default_breaks_before_the_boundary(name: str, norm: str) -> None:
    assert broken(sp.attacks.available()[name](), norm, 5, 0.98) == 0


def ratios(attack: sp.CarliniWagner, norm: str, classes: int, rows: int) -> Array:
    """The attack's distances over the exact ones; all found, neither almost on a boundary nor near the box."""
    net = linear(24, classes, seed=classes)
    with torch.no_grad():
        net[1].bias.copy_(-net[1].weight.sum(1) / 2)  # the boundaries meet in the middle of the range
    x = 0.2 + 0.6 * torch.rand(10 * rows, 24, generator=torch.Generator().manual_seed(1))
    x = x[torch.from_numpy(to_boundary(norm, net, x) > 0.02)][:rows]
    out = attack(net, x, net(x).argmax(1), THREATS[norm]())
    assert bool(out.success.all())
    return np.asarray(out.distance.double().numpy() / to_boundary(norm, net, x))


@pytest.mark.parametrize("classes", [2, 5])
def test_carlini_wagner_l2_comes_within_3_percent_in_5_searches_of_100_steps(classes: int) -> None:
    found = ratios(sp.CarliniWagner(searches=5, steps=100, initial_c=0.5), "l2", classes, 16)
    assert found.min() > 1 - 1e-5
    assert found.max() <= 1.03


@pytest.mark.parametrize(("tau", "slack"), [("decay", 1.12), ("bisect", 1.05)])
def test_carlini_wagner_linf_comes_within_12_percent_as_published_and_5_bisected(
    tau: Literal["decay", "bisect"], slack: float
) -> None:
    found = ratios(sp.CarliniWagner(steps=100, initial_c=0.1, tau=tau), "linf", 2, 6)
    assert found.min() > 1 - 1e-5
    assert found.max() <= slack


def test_carlini_wagner_l0_needs_at_most_one_feature_more_than_the_greedy_count() -> None:
    net = linear(24, 2, seed=2)
    x = torch.rand(8, 24, generator=torch.Generator().manual_seed(2))
    out = sp.CarliniWagner(steps=50, initial_c=0.1)(net, x, net(x).argmax(1), sp.L0())
    least = fewest_features(net, x, 0, 1)
    assert bool(out.success.all())
    assert (out.distance.numpy() >= least).all()
    assert (out.distance.numpy() <= least + 1).all()

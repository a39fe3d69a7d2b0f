"""The law of random starts: uniform in the ball, by exact distributions of length, direction and signs."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

import sparring as sp
from sparring.draws import Draws

N, D, RADIUS = 4000, 5, 0.7
WIDE = (-99.0, 99.0)
SURE = 1e-3  # p-values of fixed seeds; a wrong law gives far less


def sample(threat: type[sp.L1] | type[sp.L2] | type[sp.Linf], step: int, seed: int = 3) -> Tensor:
    """(N, D) float64: what is added to the centre, over the radius."""
    centre = torch.full((N, D), 0.5)
    region = threat(RADIUS).around(centre, WIDE)
    return (region.sample(Draws(seed), torch.arange(N), step) - centre).double() / RADIUS


@pytest.mark.parametrize("step", [0, 3])
def test_the_length_of_an_l1_start_to_the_power_of_its_dimension_is_uniform(step: int) -> None:
    length = sample(sp.L1, step).abs().sum(1)
    assert stats.kstest(length**D, "uniform").pvalue > SURE
    assert float(length.max()) <= 1 + 1e-6


@pytest.mark.parametrize("step", [0, 3])
def test_the_shares_of_an_l1_start_are_uniform_on_the_simplex(step: int) -> None:
    """Each is Beta(1, D - 1), the sum of two Beta(2, D - 2), and all are alike."""
    delta = sample(sp.L1, step).abs()
    share = delta / delta.sum(1, keepdim=True)
    for one in share.unbind(1):
        assert stats.kstest(one, stats.beta(1, D - 1).cdf).pvalue > SURE
    assert stats.kstest(share[:, 0] + share[:, 1], stats.beta(2, D - 2).cdf).pvalue > SURE


@pytest.mark.parametrize("step", [0, 3])
def test_the_signs_of_an_l1_start_are_fair_coins_that_know_nothing_of_each_other(step: int) -> None:
    signs = sample(sp.L1, step).sign()
    limit = 4 / math.sqrt(N)  # four deviations
    assert float(signs.mean(0).abs().max()) < limit
    products = (signs[:, :, None] * signs[:, None, :]).mean(0) - torch.eye(D, dtype=torch.float64)
    assert float(products.abs().max()) < limit
    length = sample(sp.L1, step).abs().sum(1) - D / (D + 1)
    assert float((signs * length[:, None]).mean(0).abs().max()) < limit


def test_the_length_of_an_l2_start_to_the_power_of_its_dimension_is_uniform() -> None:
    delta = sample(sp.L2, 0)
    length = delta.norm(dim=1)
    assert stats.kstest(length**D, "uniform").pvalue > SURE
    direction = delta / length[:, None]
    # A coordinate of a uniform direction, squared, is Beta(1/2, (D - 1) / 2).
    for one in direction.unbind(1):
        assert stats.kstest(one.square(), stats.beta(0.5, (D - 1) / 2).cdf).pvalue > SURE
        assert abs(float(one.sign().mean())) < 4 / math.sqrt(N)


def test_every_coordinate_of_an_linf_start_is_uniform() -> None:
    delta = sample(sp.Linf, 0)
    for one in delta.unbind(1):
        assert stats.kstest(one, stats.uniform(-1, 2).cdf).pvalue > SURE


@pytest.mark.parametrize("threat", [sp.L1, sp.L2, sp.Linf])
def test_starts_of_other_examples_steps_and_seeds_have_nothing_in_common(threat: type[sp.L1]) -> None:
    one = sample(threat, 0)
    for other in (sample(threat, 1), sample(threat, 0, seed=4), one.roll(1, 0)):
        for a, b in zip(one.unbind(1), other.unbind(1), strict=True):
            assert abs(float(stats.spearmanr(a, b).statistic)) < 5 / math.sqrt(N)

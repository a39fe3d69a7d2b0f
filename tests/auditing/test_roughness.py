"""Roughness: nothing where all climbs end at one place, much where there are many maxima."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from hiding import Before, Noise, Round
from models import linear, relu
from reference import to_boundary
from sparring.auditing.roughness import SMOOTH
from sparring.auditing.understanding import understood
from sparring.evaluation import PLANS, Rung
from sparring.problem import pose

THREATS = {"linf": sp.Linf, "l2": sp.L2}
WIDE = (-20.0, 20.0)


class Egg(nn.Module):
    """Two classes whose margin has a maximum in every box of an egg carton, all about equally high."""

    def __init__(self, height: float = 1.0) -> None:
        super().__init__()
        self.height = height
        self.weight = torch.linspace(0.5, 1.5, 16)

    def forward(self, x: Tensor) -> Tensor:
        bumps = (self.weight * (torch.sin(25 * x * self.weight) + 0.5 * x)).sum(1)
        return torch.stack([0 * bumps, self.height * (bumps - 21)], dim=1)


def of(net: nn.Module, x: Tensor, threat: object, bounds: tuple[float, float] = (0.0, 1.0), seed: int = 0) -> float:
    with torch.no_grad():
        y = net(x).argmax(1)
    return understood(sp.Model(net, bounds=bounds), pose(x, y, threat, bounds, seed=seed)).roughness


def points(rows: int = 24) -> Tensor:
    return torch.rand(rows, 16, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("norm", THREATS)
@pytest.mark.parametrize("classes", [2, 4])
def test_on_a_linear_network_all_climbs_end_alike(norm: str, classes: int) -> None:
    net = linear(16, classes, seed=classes)
    x = torch.randn(24, 16, generator=torch.Generator().manual_seed(1))
    radius = torch.from_numpy(0.7 * to_boundary(norm, net, x)).float()
    assert of(net, x, THREATS[norm](radius), WIDE) == 0.0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_among_many_maxima_they_do_not(seed: int) -> None:
    assert of(Egg(), points(), sp.Linf(0.3), seed=seed) > 0
    assert of(Egg(1e3), points(), sp.Linf(0.3), seed=seed) == of(Egg(), points(), sp.Linf(0.3), seed=seed)


def test_it_is_not_asked_of_noise_of_estimates_or_without_a_radius() -> None:
    x = points()
    assert of(Before(Noise(0.2), Egg()), x, sp.Linf(0.3)) == 0.0
    assert of(Egg(), x, sp.L2()) == 0.0
    with torch.no_grad():
        y = Egg()(x).argmax(1)
    other = sp.Model(Egg(), gradients=sp.gradients.Transfer(relu(16, 2)))
    assert understood(other, pose(x, y, sp.Linf(0.3), (0.0, 1.0))).roughness == 0.0


def test_what_a_view_sees_through_is_not_rough() -> None:
    """Rounding leaves no gradient, so plain climbs end where they start; through the stand-in they agree."""
    net = linear(16, 3, seed=3)
    x = points()
    with torch.no_grad():
        y = Before(Round(32), net)(x).argmax(1)
    found = understood(sp.Model(Before(Round(32), net)), pose(x, y, sp.Linf(0.02), (0.0, 1.0)))
    assert found.views
    assert found.roughness <= SMOOTH


def test_rough_networks_get_more_and_smooth_ones_do_not_pay_for_it() -> None:
    wide = {rung.name for rung in PLANS["standard"]("linf") if rung.rough < float("inf")}
    assert wide
    x = points(40)

    def took(net: nn.Module, threat: sp.Linf) -> set[str]:
        with torch.no_grad():
            y = net(x).argmax(1)
        result = sp.evaluate(net, (x, y), threat)
        asked = result.block.forwards[:, 1:-1].sum(0) > 0
        return {rung.name for rung, some in zip(result.rungs, asked.tolist(), strict=True) if some}

    assert took(Egg(), sp.Linf(0.3)) & wide
    assert not took(linear(16, 3, seed=3), sp.Linf(0.02)) & wide


def test_a_rung_takes_rows_by_the_roughness_of_the_network() -> None:
    x = points(40)
    with torch.no_grad():
        y = Egg()(x).argmax(1)
    rungs = [
        Rung("round", sp.CosinePGD()),
        *(Rung(f"{rough:g}", sp.Square(queries=5), rough=rough) for rough in (0.0, 1.0, 4.0, 1e9)),
    ]
    result = sp.evaluate(Egg(), (x, y), sp.Linf(0.2), rungs)
    roughness = result.header["understanding"]["roughness"]
    assert roughness > 0
    for number, rung in enumerate(rungs[1:], start=2):
        before = result.block.missed[:, :number][:, 1:]
        last = torch.stack(
            [row[~row.isnan()][-1] if (~row.isnan()).any() else torch.tensor(torch.inf) for row in before]
        )
        standing = (result.block.broken_by == -1) | (result.block.broken_by >= number)
        asked = result.block.forwards[:, number] > 0
        assert asked.tolist() == (standing & (last < rung.rough * roughness)).tolist()

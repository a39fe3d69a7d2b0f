"""The plan `standard`: exact on linear networks, row by row, cheap, and wider where gradients lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from hiding import Before, Round
from models import linear, relu
from reference import to_boundary
from sparring.evaluation import PLANS, Result
from sparring.nearness import Nearness

THREATS = {"linf": sp.Linf, "l2": sp.L2}
WIDE = (-20.0, 20.0)


def given(classes: int, rows: int = 24, seed: int = 1) -> tuple[nn.Module, Tensor, Tensor]:
    net = linear(16, classes, seed=classes)
    x = torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed))
    return net, x, net(x).argmax(1)


def taken(result: Result) -> dict[str, int]:
    """How many examples each rung took."""
    asked = result.block.forwards[:, 1:-1] > 0
    return {rung.name: int(asked[:, number].sum()) for number, rung in enumerate(result.rungs)}


@pytest.mark.parametrize("norm", THREATS)
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_on_a_linear_network_it_is_right_about_every_example(norm: str, classes: int) -> None:
    net, x, y = given(classes)
    exact = to_boundary(norm, net, x)
    times = np.where(np.arange(len(x)) % 2 == 0, 0.98, 1.02)
    threat = THREATS[norm](torch.from_numpy(times * exact).float())
    result = sp.evaluate(sp.Model(net, bounds=WIDE), (x, y), threat, plan="standard")
    assert result.robust.tolist() == (times < 1).tolist()


@pytest.mark.parametrize("threat", [sp.Linf(0.02), sp.L2(0.1), sp.L1(0.4), sp.L0(1)])
def test_results_do_not_depend_on_the_block(threat: sp.Linf) -> None:
    net = relu(16, 4, seed=2)
    x = torch.rand(30, 16, generator=torch.Generator().manual_seed(3))
    y = net(x).argmax(1)
    one, other = (sp.evaluate(net, (x, y), threat, plan="standard", batch_size=size) for size in (30, 7))
    assert torch.equal(one.robust, other.robust)
    assert torch.equal(one.block.forwards, other.block.forwards)
    assert torch.equal(one.block.backwards, other.block.backwards)


def test_examples_that_never_came_close_are_looked_at_in_one_round_and_a_probe() -> None:
    net, x, y = given(5, rows=400)
    sure = Nearness.at(net(x).detach(), y).margin < -0.88
    x, y = x[sure], y[sure]
    radius = torch.from_numpy(0.05 * to_boundary("linf", net, x)).float()
    result = sp.evaluate(sp.Model(net, bounds=WIDE), (x, y), sp.Linf(radius), plan="standard")
    took = taken(result)
    assert bool(result.robust.all())
    assert took["round"] == took["probe"] == len(x)
    assert not any(count for name, count in took.items() if name.startswith(("long", "last", "black", "APGD", "FAB")))
    # The clean look, 25 gradients and a last look, 25 queries and their first.
    assert int(result.block.forwards[0, :-1].sum()) <= 1 + 26 + 26 * 2 + 27


def test_where_gradients_are_gone_the_black_box_and_the_others_are_called() -> None:
    net, x, y = given(4, rows=40)
    masked = Before(Round(levels=3), net)
    x = (x / 3).clamp(-1, 1)
    y = masked(x).argmax(1)
    radius = torch.from_numpy(1.5 * to_boundary("linf", net, x)).float()
    result = sp.evaluate(sp.Model(masked, bounds=(-1.0, 1.0)), (x, y), sp.Linf(radius), plan="standard")
    took = taken(result)
    assert took["black box"] > 0
    assert 0 < took["APGD-CE"] <= took["black box"]
    quick = sp.evaluate(sp.Model(masked, bounds=(-1.0, 1.0)), (x, y), sp.Linf(radius), plan="quick")
    assert result.robust_accuracy < quick.robust_accuracy


def test_the_header_says_which_rows_a_rung_takes() -> None:
    told = {rung.name: rung.records() for rung in PLANS["standard"]("linf")}
    assert told["long, margin"]["within"] == 0.15
    assert told["black box"]["gained"] == "probe"
    assert told["last, 3 classes"]["ranked"] == "closest"
    assert set(told["round"]) == {"name", "attack"}


def test_nearness_is_the_largest_margin_of_all_looks_that_do_not_err() -> None:
    random = torch.Generator().manual_seed(0)
    clean = torch.randn(6, 5, generator=random)
    label = clean.argmax(1)
    nearness = Nearness.at(clean, label)
    looks = [clean]
    for _ in range(40):
        slot = torch.randint(6, (9,), generator=random)
        logits = 2 * torch.randn(9, 5, generator=random)
        nearness = nearness.seeing(slot, logits, label[slot])
        looks.append(torch.full((6, 5), torch.nan).index_copy(0, slot, logits))
        for row, own in zip(slot.tolist(), logits, strict=True):  # every one of a repeated row
            look = torch.full((6, 5), torch.nan)
            look[row] = own
            looks.append(look)
    for row in range(6):
        gap = clean[row].sort(descending=True).values
        seen = torch.stack([look[row] for look in looks if not look[row].isnan().any()])
        others = seen.clone()
        others[:, label[row]] = -torch.inf
        margins = (others.amax(1) - seen[:, label[row]]) / (gap[0] - gap[2])
        best = margins[margins <= 0].max()
        assert float(nearness.margin[row]) == pytest.approx(float(best))
        assert bool((seen[margins == best] == nearness.logits[row]).all(1).any())

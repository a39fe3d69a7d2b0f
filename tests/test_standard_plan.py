"""The plan `standard`: exact on linear networks, row by row, cheap, and wider where gradients lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from hiding import Before, Noise, Round
from models import linear, relu
from reference import to_boundary
from sparring.evaluation import PLANS, Result
from sparring.nearness import Nearness
from sparring.problem import Goal

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


def test_examples_that_never_came_close_are_looked_at_in_two_rounds_and_a_probe() -> None:
    net, x, y = given(5, rows=60)
    radius = torch.from_numpy(0.05 * to_boundary("linf", net, x)).float()
    result = sp.evaluate(sp.Model(net, bounds=WIDE), (x, y), sp.Linf(radius), plan="standard")
    took = taken(result)
    assert bool(result.robust.all())
    assert took["round"] == took["round, within reach"] == took["probe"] == len(x)
    assert not any(count for name, count in took.items() if name.startswith(("long", "search", "polish", "black")))
    # The clean look, twice 25 gradients and a last look, one look for the slopes, 10 queries.
    assert int(result.block.forwards[0, :-1].sum()) == 1 + 2 * 26 + 1 + 10


def test_where_gradients_are_gone_the_black_box_is_called() -> None:
    net, x, y = given(4, rows=40)
    masked = Before(Round(levels=3), net)
    x = (x / 3).clamp(-1, 1)
    y = masked(x).argmax(1)
    radius = torch.from_numpy(1.5 * to_boundary("linf", net, x)).float()
    threat = sp.Linf(radius)
    result = sp.evaluate(sp.Model(masked, bounds=(-1.0, 1.0)), (x, y), threat, plan="standard")
    quick = sp.evaluate(sp.Model(masked, bounds=(-1.0, 1.0)), (x, y), threat, plan="quick")
    assert taken(result)["black box"] > 0
    assert result.robust_accuracy < quick.robust_accuracy


def test_without_any_gradient_the_black_box_goes_on_alone_and_the_verdict_says_so() -> None:
    net, x, y = given(3, rows=60)

    class Detached(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.from_numpy(net(x).detach().numpy())

    radius = torch.from_numpy(3.0 * to_boundary("linf", net, x)).float()
    result = sp.evaluate(sp.Model(Detached(), bounds=WIDE), (x, y), sp.Linf(radius), plan="standard")
    took = taken(result)
    assert took["probe"] == len(x)
    assert took["black box"] > 0
    assert result.robust_accuracy < 0.1
    assert int(result.block.backwards.sum()) == 0
    small = sp.evaluate(sp.Model(Detached(), bounds=WIDE), (x, y), sp.Linf(radius / 100), plan="standard")
    assert bool(small.robust.all())
    assert small.verdict == "unreliable"


def test_zero_gradients_are_not_followed_for_ever() -> None:
    """A network that answers from rounded inputs has a gradient of zero everywhere."""
    net, x, y = given(3, rows=20)

    class Steps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = net(x.round() + 0 * x)
            return logits

    y = Steps()(x).argmax(1)
    result = sp.evaluate(sp.Model(Steps(), bounds=WIDE), (x, y), sp.Linf(0.01), plan="standard")
    followed = {name for name, count in gradients(result).items() if count}
    assert followed == {"round", "round, within reach"}


def gradients(result: Result) -> dict[str, int]:
    """How many each rung asked for."""
    asked = result.block.backwards[:, 1:-1].sum(0).tolist()
    return dict(zip((rung.name for rung in result.rungs), asked, strict=True))


def test_the_header_says_which_rows_a_rung_takes() -> None:
    told = {rung.name: rung.records() for rung in PLANS["standard"]("linf")}
    assert told["round, closest class"]["within"] == 0.5
    assert told["black box"]["doubted"] is True
    assert told["black box, probed"]["gained"] == ["probe"]
    assert told["search"]["start"] == "closest"
    assert set(told["round"]) == {"name", "attack", "max_zero_gradients"}


def test_nearness_is_the_largest_margin_of_all_looks_that_do_not_err() -> None:
    random = torch.Generator().manual_seed(0)
    clean = torch.randn(6, 5, generator=random)
    label = clean.argmax(1)
    nearness = Nearness.at(torch.zeros(6, 2), clean, Goal(label))
    looks = [clean]
    for number in range(40):
        slot = torch.randint(6, (9,), generator=random)
        logits = 2 * torch.randn(9, 5, generator=random)
        nearness = nearness.seeing(
            slot, torch.full((9, 2), float(number)), logits, Goal(label[slot]), torch.ones(9).bool()
        )
        looks.append(torch.full((6, 5), torch.nan).index_copy(0, slot, logits))
        for row, own in zip(slot.tolist(), logits, strict=True):  # every one of a repeated row
            look = torch.full((6, 5), torch.nan)
            look[row] = own
            looks.append(look)
    for row in range(6):
        seen = torch.stack([look[row] for look in looks if not look[row].isnan().any()])
        others = seen.clone()
        others[:, label[row]] = -torch.inf
        margins = others.amax(1) - seen[:, label[row]]
        best, first = margins[margins <= 0].max(), margins[0]
        assert float(nearness.margin[row]) == pytest.approx(float(best))
        assert bool((seen[margins == best] == nearness.logits[row]).all(1).any())
        expected = float(-best / (best - first)) if best > first else float("inf")
        assert float(nearness.missed[row]) == pytest.approx(expected)


def test_looks_that_err_count_only_where_it_may_be_luck() -> None:
    x, clean = torch.zeros(1, 2), torch.tensor([[0.0, 3.0]])
    before = Nearness.at(x, clean, Goal(torch.tensor([1])))
    look = torch.tensor([0]), x + 1, torch.tensor([[2.0, 1.0]]), Goal(torch.tensor([1])), torch.tensor([True])
    assert before.seeing(*look).missed.item() == float("inf")
    lucky = before.seeing(*look, luck=True)
    assert (lucky.margin.item(), lucky.missed.item()) == (1.0, 0.0)


def test_misses_do_not_depend_on_the_scale_or_the_shift_of_the_logits() -> None:
    random = torch.Generator().manual_seed(1)
    clean, look = torch.randn(2, 50, 4, generator=random, dtype=torch.float64)
    label, slot, x = clean.argmax(1), torch.arange(50), torch.zeros(50, 2, dtype=torch.float64)
    inside = torch.ones(50, dtype=torch.bool)
    one = Nearness.at(x, clean, Goal(label)).seeing(slot, x, look, Goal(label), inside)
    other = Nearness.at(x, 100 * clean + 7, Goal(label)).seeing(slot, x, 100 * look + 7, Goal(label), inside)
    torch.testing.assert_close(one.missed, other.missed)


def test_a_random_network_is_judged_by_its_mean_and_not_by_lucky_draws() -> None:
    """With symmetric noise before a linear network of two classes the mean errs where the network itself does."""
    net, x, _ = given(2, rows=40)
    noisy = sp.Model(Before(Noise(1.0), net), bounds=WIDE)
    y = net(x).argmax(1)
    exact = to_boundary("l2", net, x)
    times = np.where(np.arange(len(x)) % 2 == 0, 0.6, 2.0)
    right = exact > 0.8  # the others are wrong in so many draws that the clean look may err
    result = sp.evaluate(noisy, (x, y), sp.L2(torch.from_numpy(times * exact).float()))
    assert result.header["understanding"]["random"] is True
    assert right.sum() > 15
    assert result.robust.numpy()[right].tolist() == (times < 1)[right].tolist()
    model = sp.Model(net, bounds=WIDE)
    told = model(result.x).argmax(1) != y
    assert told.numpy()[right].tolist() == (times > 1)[right].tolist()

"""Auto-PGD against its papers: when it halves its step (2020, algorithm 1), and where its L1 form goes (2021, 3.3)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import sparring as sp
from models import seeded
from sparring.draws import Draws
from sparring.problem import Goal, Problem, Seen
from sparring.rules import Adaptive, AdaptiveSparse
from sparring.rules.adaptive import Progress


def problem(rows: int = 1, features: int = 8, threat: sp.Linf | sp.L1 | None = None) -> Problem:
    x = torch.full((rows, features), 0.5)
    label = torch.zeros(rows, dtype=torch.int64)
    region = (threat or sp.Linf(0.25)).around(x, (-9.0, 9.0))
    index = torch.arange(rows)
    return Problem(index=index, slot=index, x=x, goal=Goal(label), region=region, draws=Draws(0), seek="strongest")


def halvings(scores: list[float], steps: int, rho: float = 0.75) -> list[float]:
    """Step sizes over 2 eps, step by step, as algorithm 1 says: a reference written from the paper.

    Checkpoints lie 0.22 of the steps apart, then ever 0.03 less, at least 0.06. The step is halved at one where fewer
    than rho of the steps since the last rose, or where neither the step nor the best changed since the last.
    """
    size, best, found = 1.0, scores[0], []
    interval, since, rises, halved, best_then = max(int(0.22 * steps), 1), 0, 0, True, scores[0]
    for number, score in enumerate(scores):
        if number:
            since += 1
            rises += score > scores[number - 1]
            best = max(best, score)
            if since == interval:
                halve = rises <= rho * interval or (not halved and best_then >= best)
                size = size / 2 if halve else size
                halved, best_then, rises, since = halve, best, 0, 0
                interval = max(interval - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
        found.append(size)
    return found


def sizes(scores: list[float], steps: int, rho: float = 0.75) -> list[float]:
    """What the rule does when it sees these scores, whatever the point."""
    asked, rule = problem(), Adaptive(steps, rho)
    x = asked.x
    memory, found = rule.start(asked, x), []
    for score in scores:
        seen = Seen(torch.zeros(1, 2), torch.tensor([score]), torch.ones_like(x))
        x, memory = rule.move(asked, memory, x, seen)
        found.append(float(memory.size) / (2 * 0.25))
    return found


@given(
    st.integers(4, 120).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(-6, 6), min_size=n, max_size=n))),
    st.sampled_from([0.5, 0.75, 0.9]),
)
def test_the_step_is_halved_as_algorithm_1_says(case: tuple[int, list[int]], rho: float) -> None:
    steps, scores = case
    assert sizes([float(one) for one in scores], steps, rho) == halvings([float(one) for one in scores], steps, rho)


def test_it_is_halved_where_the_best_has_not_changed_though_most_steps_rose() -> None:
    """The second condition alone: one fall from a high, and then many small rises that never come near it."""
    first = [float(n) for n in range(22)] + [100.0]  # to the checkpoint at 22: every step rose, so it stays
    then = [-50.0 + n for n in range(19)]  # to the next at 41: all but one rose, none beat 100
    more = [-20.0 + n for n in range(16)]  # to the next at 57: the step was halved at 41, so it is left alone
    found = sizes([*first, *then, *more], 100)
    assert found[22] == 1.0
    assert found[41] == 0.5
    assert found[57] == 0.5
    assert found == halvings([*first, *then, *more], 100)


def test_after_a_halving_it_goes_on_from_the_best_point() -> None:
    asked, rule = problem(), Adaptive(100)
    x = asked.x
    memory = rule.start(asked, x)
    best = None
    for number in range(23):
        score = 5.0 if number == 3 else 0.0
        best = x if number == 3 else best
        seen = Seen(torch.zeros(1, 2), torch.tensor([score]), torch.ones_like(x))
        x, memory = rule.move(asked, memory, x, seen)
    assert best is not None
    assert torch.equal(memory.last, best)  # where the step at the checkpoint began
    assert float(memory.size) == pytest.approx(0.25)


def test_momentum_is_three_quarters_of_the_step_and_a_quarter_of_the_last() -> None:
    asked, rule = (
        replace(problem(), region=sp.Linf(100.0).around(torch.full((1, 8), 0.5), (-999.0, 999.0))),
        Adaptive(100),
    )
    asked = replace(asked, seek="strongest")
    gradient = torch.tensor([[1.0, -1.0] * 4])
    x0 = asked.x
    memory = replace(rule.start(asked, x0), size=torch.tensor([1.0]))
    x1, memory = rule.move(asked, memory, x0, Seen(torch.zeros(1, 2), torch.tensor([0.0]), gradient))
    torch.testing.assert_close(x1, x0 + gradient)  # the first step has none
    x2, memory = rule.move(asked, memory, x1, Seen(torch.zeros(1, 2), torch.tensor([1.0]), -gradient))
    torch.testing.assert_close(x2, x1 - 0.75 * gradient + 0.25 * gradient)


# L1.


class Watched(nn.Module):
    """A linear network that keeps the points at which its gradient was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = seeded(lambda: nn.Linear(10, 3), 0)
        self.points: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            self.points.append(x.detach().clone())
        return self.layer(x)


def test_in_l1_it_comes_from_three_times_the_radius_by_way_of_twice() -> None:
    net = Watched()
    x = torch.zeros(6, 10)
    y = net(x).argmax(1)
    # So near that nobody falls inside the radius, and on a linear network every step leads outwards.
    weight = net.layer.weight
    gap = (net(x).sort(dim=1).values[:, -1] - net(x).sort(dim=1).values[:, -2]).detach()
    radius = float(0.2 * gap.min() / (2 * weight.abs().max()))
    sp.APGD(steps=20)(sp.Model(net, bounds=(-9.0, 9.0)), x, y, sp.L1(radius))
    lengths = [float((point - x[: len(point)]).abs().flatten(1).sum(1).max()) / radius for point in net.points]
    assert len(lengths) == 20
    wide, twice, inside = lengths[:6], lengths[6:12], lengths[12:]
    assert 2 < max(wide) <= 3 + 1e-4
    assert 1 < max(twice) <= 2 + 1e-4
    assert 0.9 < max(inside) <= 1 + 1e-4
    assert min(twice[1:]) > 1.5  # it begins where the wide ball ended, drawn in
    assert min(inside[1:]) > 0.8


def test_in_l1_it_reaches_the_exact_best_of_a_linear_objective() -> None:
    """All of the radius on the coordinate whose weight is largest."""
    net = Watched()
    x = torch.zeros(4, 10)
    y = torch.tensor([0, 1, 2, 0])
    out = sp.APGD(steps=60, objective="margin")(sp.Model(net, bounds=(-9.0, 9.0)), x, y, sp.L1(0.5), seek="strongest")
    with torch.no_grad():
        margins = [
            net.layer(point).scatter(1, y[:, None], -torch.inf).amax(1) - net.layer(point).gather(1, y[:, None])[:, 0]
            for point in (x, out.x)
        ]
        others = net.layer.weight[None] - net.layer.weight[y][:, None]  # (N, K, d)
        bias = net.layer.bias[None] - net.layer.bias[y][:, None]
        exact = (bias + 0.5 * others.abs().amax(2)).scatter(1, y[:, None], -torch.inf).amax(1)
    assert (margins[1] > margins[0]).all()
    torch.testing.assert_close(margins[1], exact, rtol=0.05, atol=0.02)


def test_the_first_checkpoint_of_the_l1_form_comes_after_four_hundredths_of_the_steps() -> None:
    asked = problem(1, 20, sp.L1(1.0))
    assert AdaptiveSparse(100).start(asked, asked.x).interval == 4
    assert AdaptiveSparse(50).start(asked, asked.x).interval == 2
    assert AdaptiveSparse(5).start(asked, asked.x).interval == 1
    begun = AdaptiveSparse(100).start(asked, asked.x)
    assert float(begun.size) == 1.0  # the radius
    assert float(begun.spread) == pytest.approx(0.2)


def checkpoint(moved: int, width: float, size: float, radius: float = 2.0) -> tuple[Tensor, Progress, Tensor, Tensor]:
    """The sparse rule at a checkpoint where the best point differs from the input in so many of 20 coordinates."""
    asked, rule = problem(1, 20, sp.L1(radius)), AdaptiveSparse(100)
    best = asked.x.clone()
    best[:, :moved] += 0.01
    here, gradient = asked.x + 0.5, torch.arange(20.0)[None] + 1
    memory = replace(rule.start(asked, asked.x), point=best, gradient=-gradient, size=torch.tensor([size]))
    memory = replace(memory, width=torch.tensor([width]))
    x, found, now = rule._checkpoint(asked.region, memory, here, gradient)
    return x, now, found, best


@pytest.mark.parametrize("moved", [10, 18, 19, 20])
def test_the_l1_form_begins_again_where_the_best_point_has_become_sparser(moved: int) -> None:
    """By more than a twentieth: the radius again, from the best point; else the step shrinks, to a tenth at least."""
    x, now, gradient, best = checkpoint(moved, 20.0, 0.9)
    sparser = moved < 19
    assert torch.equal(x, best) == sparser
    assert float(gradient[0, 0]) == (-1.0 if sparser else 1.0)
    assert float(now.size) == pytest.approx(2.0 if sparser else 0.6)
    assert float(now.spread) == pytest.approx(moved / 20 / 1.5)
    assert float(now.width) == moved
    assert now.since == 0
    assert float(checkpoint(20, 20.0, 0.21)[1].size) == pytest.approx(0.2)


def test_a_sparse_step_takes_the_largest_gradients_and_has_length_one() -> None:
    gradient = torch.tensor([[3.0, -5.0, 1.0, 0.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    found = AdaptiveSparse(10)._sparse(gradient, torch.tensor([0.4, 0.1]))
    torch.testing.assert_close(found, torch.tensor([[0.0, -0.5, 0.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0, 1.0]]))

"""How Carlini & Wagner's attacks search for c: when a value is given up, what is tried next, how long a step may be."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import sparring as sp
from models import linear
from sparring.attacks.carlini_wagner.climb import Climbing, Doubling, moved
from sparring.attacks.carlini_wagner.l2 import Bisection
from sparring.draws import Draws
from sparring.problem import Goal, Problem, Seen
from sparring.rules.adam import Adam
from sparring.searches import Bracket
from sparring.threats import L2

ADAM = Adam(0.1)


def climbing(ages: list[float], checked: list[float], c: float = 1.0) -> Climbing:
    begun = Climbing.begin(torch.zeros(len(ages), 3), ADAM, c)
    return replace(begun, age=torch.tensor(ages), checked=torch.tensor(checked))


def after(
    ages: list[float], checked: list[float], losses: list[float], abort: bool = True, c: float = 1.0
) -> tuple[Climbing, Tensor]:
    return Doubling(100, abort, largest=20).after(climbing(ages, checked, c), torch.tensor(losses))


def test_c_is_doubled_when_its_steps_are_over() -> None:
    now, out = after([99, 100, 101], [torch.inf] * 3, [5.0] * 3)
    assert now.c.tolist() == [1, 2, 2]
    assert now.age.tolist() == [99, 0, 0]
    assert not out.any()


def test_and_when_a_tenth_of_them_brought_nothing() -> None:
    #        due, stalled; due, a hair better; due, worse; not due, stalled
    now, _ = after([20, 20, 20, 21], [1.0, 1.0, 1.0, 1.0], [1.0, 0.9998, 2.0, 1.0])
    assert now.c.tolist() == [2, 1, 2, 1]
    assert now.checked.tolist() == [torch.inf, pytest.approx(0.9998), torch.inf, 1.0]
    patient, _ = after([20, 100], [1.0, 1.0], [1.0, 1.0], abort=False)
    assert patient.c.tolist() == [1, 2]


def test_a_row_is_given_up_when_its_next_c_is_beyond_the_largest() -> None:
    assert after([100], [1.0], [1.0], c=10.0)[1].tolist() == [False]  # 20 may still be tried
    assert after([100], [1.0], [1.0], c=10.5)[1].tolist() == [True]
    assert after([50.5], [1.0], [1.0], c=15.0)[1].tolist() == [False]


def test_a_step_is_no_longer_than_it_may_be_and_keeps_its_direction() -> None:
    state = climbing([0, 0], [torch.inf, torch.inf])
    climb, slope = torch.tensor([[3.0, -4.0, 0.0]] * 2), torch.full((2, 3), 0.5)
    free = moved(state, ADAM, climb, slope, torch.tensor([torch.inf, torch.inf])).w
    held = moved(state, ADAM, climb, slope, torch.tensor([0.01, 100.0]))
    assert float((slope * held.w)[0].norm()) == pytest.approx(0.01)
    torch.testing.assert_close(held.w[0] / held.w[0].norm(), free[0] / free[0].norm())
    torch.testing.assert_close(held.w[1], free[1])
    assert held.age.tolist() == [1, 1]


# L2: bisection.


def bisecting(
    left: list[float], low: list[float], high: list[float], value: list[float], late: list[bool], searches: int
) -> list[float]:
    """The values of c that follow."""
    rows = len(left)
    x, index = torch.full((rows, 3), 0.5), torch.arange(rows)
    region = L2(1.0).around(x, (0.0, 1.0))
    goal = Goal(torch.zeros(rows, dtype=torch.int64))
    problem = Problem(index=index, slot=index, x=x, goal=goal, region=region, draws=Draws(0), seek="nearest")
    search = Bisection(searches, 10, ADAM, 1.0, True)
    state = search.start(problem)
    bracket = Bracket(torch.tensor(low), torch.tensor(high), torch.tensor(value))
    state = replace(state, bracket=bracket, left=torch.tensor(left), late=torch.tensor(late))
    now = search._next(problem, state, torch.ones(rows, dtype=torch.bool))
    assert now.left.tolist() == [one - 1 for one in left]
    return now.climb.c.tolist()


def test_c_rises_tenfold_until_it_works_and_is_bisected_then() -> None:
    inf = float("inf")
    assert bisecting([5, 5, 5], [0, 1, 1], [inf, inf, 4], [1, 10, 3], [False, False, False], 9) == [10, 100, 3.5]
    assert bisecting([5, 5, 5], [0, 1, 1], [inf, inf, 4], [1, 10, 3], [True, True, True], 9) == pytest.approx(
        [0.1, 5.5, 2]
    )


def test_the_last_of_ten_searches_or_more_takes_the_value_that_is_known_to_work() -> None:
    """As the authors' code does."""
    low, high, value, late = [1.0, 1.0, 1.0], [4.0, 4.0, float("inf")], [3.0, 3.0, 3.0], [False] * 3
    # Left after this one: one, which is the last; two; one, but nothing is known to work.
    assert bisecting([2, 3, 2], low, high, value, late, 10) == [4, 3.5, 30]
    assert bisecting([2, 3, 2], low, high, value, late, 9) == [3.5, 3.5, 30]


@pytest.mark.parametrize(
    ("threat", "rate", "first"), [(sp.L2(), 0.01, 1e-3), (sp.Linf(), 0.005, 1e-5), (sp.L0(), 0.01, 1e-3)]
)
def test_learning_rate_and_first_c_are_those_of_the_authors_code(threat: Any, rate: float, first: float) -> None:
    net = sp.Model(linear(6, 3), bounds=(-9.0, 9.0))
    x = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = net(x).argmax(1)
    few = sp.CarliniWagner(searches=7, steps=30)
    found = few(net, x, y, threat)
    assert torch.equal(found.x, replace(few, learning_rate=rate, initial_c=first)(net, x, y, threat).x)
    assert not torch.equal(found.x, replace(few, learning_rate=2 * rate)(net, x, y, threat).x)
    assert not torch.equal(found.x, replace(few, initial_c=30 * first)(net, x, y, threat).x)


# L∞ and L0.


def posed(threat: Any, rows: int = 2, bounds: tuple[float, float] = (-1.0, 3.0)) -> Problem:
    x, index = torch.full((rows, 1, 2, 3), 0.5), torch.arange(rows)
    region = threat.around(x, bounds)
    goal = Goal(torch.zeros(rows, dtype=torch.int64))
    return Problem(index=index, slot=index, x=x, goal=goal, region=region, draws=Draws(0), seek="nearest")


def said(score: float, rows: int = 2) -> Any:
    """An oracle that says of every point by how much the goal is met, and climbs in one direction."""
    logits = torch.tensor([[0.0, score]]).repeat(rows, 1)

    def gradient(problem: Problem, x: Tensor, objective: Any) -> Seen:
        return Seen(logits, torch.full((rows,), score), torch.ones_like(x))

    return SimpleNamespace(gradient=gradient)


def test_the_linf_form_begins_at_a_ceiling_of_one_and_moves_a_hundredth_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from sparring.attacks.carlini_wagner import linf

    asked: list[Tensor] = []
    real = linf.moved

    def kept(state: Climbing, adam: Adam, climb: Tensor, slope: Tensor, longest: Tensor) -> Climbing:
        asked.append(longest)
        return real(state, adam, climb, slope, longest)

    monkeypatch.setattr(linf, "moved", kept)
    form, problem = linf.Ceiling(10, ADAM, 1.0, True, False), posed(sp.Linf())
    state = form.start(problem)
    assert state.tau.tolist() == [1.0, 1.0]  # of the input range
    form.step(problem, said(-1.0), replace(state, tau=torch.tensor([1.0, 0.5])))
    torch.testing.assert_close(asked[0], 0.01 * torch.tensor([1.0, 0.5]) * 4.0 * 6**0.5)  # the range is 4 wide


@pytest.mark.parametrize(("score", "frozen"), [(0.05, True), (0.00995, True), (0.005, False), (-0.1, False)])
def test_the_l0_form_freezes_pixels_only_where_the_goal_is_met_by_a_hundredth(score: float, frozen: bool) -> None:
    from sparring.attacks.carlini_wagner.l0 import Freezing

    form, problem = Freezing(10, ADAM, 1.0, True), posed(sp.L0())
    state = form.start(problem)
    moved_on = replace(state, climb=replace(state.climb, w=state.climb.w + 0.3))
    _, _, now = form.step(problem, said(score), moved_on)
    assert bool((now.free.sum(1) < state.free.sum(1)).all()) == frozen


def test_a_step_of_the_l2_form_is_a_tenth_of_the_nearest_distance_at_most_and_less_towards_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the units of the input, whose range is four wide here."""
    from sparring.attacks.carlini_wagner import l2

    asked: list[Tensor] = []
    real = l2.moved

    def kept(state: Climbing, adam: Adam, climb: Tensor, slope: Tensor, longest: Tensor) -> Climbing:
        asked.append(longest)
        return real(state, adam, climb, slope, longest)

    monkeypatch.setattr(l2, "moved", kept)
    form, problem = Bisection(9, 10, ADAM, 1.0, True), posed(sp.L2(), rows=3)
    state = form.start(problem)
    climb = replace(state.climb, age=torch.tensor([0.0, 5.0, 5.0]))
    state = replace(state, climb=climb, nearest=torch.tensor([0.5, 0.5, torch.inf]))
    form.step(problem, said(-1.0, rows=3), state)
    torch.testing.assert_close(asked[0], torch.tensor([0.2, 0.1, torch.inf]))  # no limit before anything was found

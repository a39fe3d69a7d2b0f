"""FAB against what can be computed: its projection, linear models with and without a box, its passes, its starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog, minimize
from torch import Tensor, nn

import sparring as sp
from models import linear, relu
from reference import Array, distances, double, layer, to_boundary
from sparring.attacks.fab.attack import beside
from sparring.attacks.fab.projection import step_to_plane
from sparring.attacks.fab.walk import Walk
from sparring.oracle import Oracle
from sparring.problem import pose

ORDERS = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}
THREATS: dict[str, Any] = {"linf": sp.Linf, "l2": sp.L2, "l1": sp.L1}
NORMS = pytest.mark.parametrize("norm", ORDERS)
NO_BOX = (-float("inf"), float("inf"))


def shortest(norm: str, slope: Array, gap: float, down: Array, up: Array) -> float:
    """The least length of d with <slope, d> = gap and -down <= d <= up, by SciPy; inf where there is none.

    L∞ and L1 are linear programs in (d, t) with |d_i| <= t, or t_i; L2 is a bounded quadratic one.
    """
    size = len(slope)
    most = float(np.where(slope * np.sign(gap) > 0, up, down) @ np.abs(slope))
    if most < abs(gap):
        return float("inf")
    box = [(-a, b) for a, b in zip(down, up, strict=True)]
    if norm == "l2":
        meets = {"type": "eq", "fun": lambda d: slope @ d - gap, "jac": lambda d: slope}
        start = np.clip(gap * slope / max(float(slope @ slope), 1e-12), -down, up)
        solved = minimize(
            lambda d: (d @ d) / 2, start, jac=lambda d: d, bounds=box, constraints=[meets], method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-14},
        )  # fmt: skip
        return float(np.linalg.norm(solved.x))
    extra = 1 if norm == "linf" else size
    bound = np.ones((size, 1)) if norm == "linf" else np.eye(size)
    unequal = np.block([[np.eye(size), -bound], [-np.eye(size), -bound]])
    cost, equal = np.r_[np.zeros(size), np.ones(extra)], np.r_[slope, np.zeros(extra)][None]
    solved = linprog(cost, unequal, np.zeros(2 * size), equal, [gap], bounds=[*box, *[(0, None)] * extra])
    return float(solved.fun)


@st.composite
def planes(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One to three hyperplanes with integer slopes in a box, some of whose sides have no room at all."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 6)))
    slope = draw(arrays(np.float64, shape, elements=st.integers(-4, 4)))
    room = [draw(arrays(np.float64, shape, elements=st.sampled_from([0, 0.25, 0.5, 1, 3]))) for _ in range(2)]
    gap = draw(arrays(np.float64, shape[:1], elements=st.integers(-40, 40))) / 4
    return tuple(torch.from_numpy(part) for part in (slope, gap, *room))  # type: ignore[return-value]


@NORMS
@given(case=planes())
def test_the_step_to_a_plane_is_as_short_as_an_independent_solver_finds(
    norm: str, case: tuple[Tensor, Tensor, Tensor, Tensor]
) -> None:
    slope, gap, down, up = case
    step = step_to_plane(ORDERS[norm], slope, gap, down, up)
    assert bool(((step >= -down) & (step <= up)).all())
    for row in range(len(slope)):
        d, w = double(step[row]), double(slope[row])
        least = shortest(norm, w, float(gap[row]), double(down[row]), double(up[row]))
        if least < float("inf"):
            assert w @ d == pytest.approx(float(gap[row]), abs=1e-9)
            assert np.linalg.norm(d, ORDERS[norm]) == pytest.approx(least, rel=1e-5, abs=1e-6)
        else:  # as far as the box lets it
            corner = np.where(w * np.sign(float(gap[row])) > 0, double(up[row]), -double(down[row]))
            np.testing.assert_allclose(d, np.where(w == 0, 0, corner))


@NORMS
def test_without_a_box_the_step_has_the_length_of_the_dual_norm(norm: str) -> None:
    slope = torch.randn(5, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gap, room = torch.tensor([3.0, -2.0, 1e-9, 0.0, 1e9]), torch.full((5, 40), torch.inf)
    step = step_to_plane(ORDERS[norm], slope, gap, room, room)
    dual = {"linf": 1, "l2": 2, "l1": np.inf}[norm]
    length = np.linalg.norm(double(step), ORDERS[norm], axis=1)
    np.testing.assert_allclose(length, np.abs(double(gap)) / np.linalg.norm(double(slope), dual, axis=1), rtol=1e-12)
    np.testing.assert_allclose((slope * step).sum(1), gap, rtol=1e-12)


@NORMS
def test_a_step_survives_slopes_near_the_smallest_number_and_none_at_all(norm: str) -> None:
    slope, room = torch.tensor([[3e-38, -4e-38], [0.0, 0.0]]), torch.ones(2, 2)
    step = step_to_plane(ORDERS[norm], slope, torch.tensor([2e-38, 1.0]), room, room)
    assert float((slope.double() * step)[0].sum()) == pytest.approx(2e-38, rel=1e-5)
    assert step[1].tolist() == [0, 0]


@NORMS
def test_the_step_of_a_row_is_the_same_alone(norm: str) -> None:
    generator = torch.Generator().manual_seed(0)
    slope, down, up = torch.randn(30, 50, generator=generator), *torch.rand(2, 30, 50, generator=generator)
    gap = torch.linspace(-9, 9, 30)
    whole = step_to_plane(ORDERS[norm], slope, gap, down, up)
    for row in torch.arange(30).split(1):
        assert torch.equal(step_to_plane(ORDERS[norm], slope[row], gap[row], down[row], up[row]), whole[row])


def examples(classes: int, rows: int = 100) -> tuple[nn.Module, Tensor, Tensor]:
    """A linear network, points around the origin, and what the network says of them."""
    net = linear(24, classes, seed=classes)
    x = torch.randn(rows, 24, generator=torch.Generator().manual_seed(1))
    return net, x, net(x).argmax(1)


@NORMS
@pytest.mark.parametrize("attack", [sp.FAB(steps=3), sp.FAB(n_targets=9), sp.FAB(steps=10, restarts=3)], ids=repr)
def test_with_two_linear_classes_the_nearest_example_is_exact(norm: str, attack: sp.FAB) -> None:
    net, x, y = examples(2)
    out = attack(sp.Model(net, bounds=NO_BOX), x, y, THREATS[norm]())
    assert bool(out.success.all())
    np.testing.assert_allclose(out.distance, to_boundary(norm, net, x), rtol=1e-4)


@NORMS
@pytest.mark.parametrize("attack", [sp.FAB(), sp.FAB(n_targets=4), sp.FAB(restarts=3)], ids=repr)
def test_with_five_linear_classes_it_is_within_a_thousandth(norm: str, attack: sp.FAB) -> None:
    net, x, y = examples(5)
    out = attack(sp.Model(net, bounds=NO_BOX), x, y, THREATS[norm]())
    assert bool(out.success.all())
    np.testing.assert_allclose(out.distance, to_boundary(norm, net, x), rtol=1e-3)


def boxed(norm: str, rows: int = 12) -> tuple[nn.Module, Tensor, Tensor, Array]:
    """Points at the edges of [0, 1], in a linear network whose boundary lies far off, and the exact distances in it."""
    net = linear(16, 2, seed=3)
    x = (2 * torch.rand(rows, 16, generator=torch.Generator().manual_seed(2)) - 0.5).clamp(0, 1)
    weight, bias = layer(net)
    y = net(x).argmax(1)
    slope = (weight[1] - weight[0]) * (1 - 2 * y.numpy())[:, None]
    gap = -(double(x) * slope).sum(1) - (bias[1] - bias[0]) * (1 - 2 * y.numpy())
    exact = [shortest(norm, slope[i], gap[i], double(x[i]), 1 - double(x[i])) for i in range(rows)]
    return net, x, y, np.array(exact)


@NORMS
def test_with_two_linear_classes_it_is_exact_in_the_corner_of_a_box_too(norm: str) -> None:
    net, x, y, exact = boxed(norm)
    out = sp.FAB()(net, x, y, THREATS[norm]())
    assert exact.max() < float("inf")
    clipped = ((out.x == 0) | (out.x == 1)) & (out.x != x)
    assert clipped.any()  # the box matters
    assert (distances(norm, out.x, x) > to_boundary(norm, net, x) * 1.01).any()
    np.testing.assert_allclose(out.distance, exact, rtol=1e-4)


@NORMS
def test_a_radius_just_beyond_the_boundary_suffices_and_one_just_before_never_does(norm: str) -> None:
    net, x, y = examples(2)
    exact = to_boundary(norm, net, x)
    far = exact > 0.01  # nearer, single precision blurs a thousandth
    x, y, exact = x[far], y[far], exact[far]
    for times, broken in ((1.001, True), (0.999, False)):
        threat = THREATS[norm](torch.from_numpy(times * exact).float())
        out = sp.FAB(steps=10)(sp.Model(net, bounds=NO_BOX), x, y, threat)
        assert out.success.tolist() == [broken] * len(x)
        assert torch.equal(out.distance > 0, out.success)


@NORMS
def test_on_a_relu_network_it_finds_no_farther_example_than_carlini_and_wagner(norm: str) -> None:
    net = relu(12, 3, seed=2, width=32)
    x = torch.rand(16, 12, generator=torch.Generator().manual_seed(0))
    y = net(x).argmax(1)
    fab = sp.FAB(restarts=3)(net, x, y, THREATS[norm]())
    assert bool(fab.success.all())
    if norm == "l1":  # Carlini & Wagner has no L1 form; a point at that distance falls to APGD in a ball a little wider
        wider = sp.L1(0.9 * fab.distance)
        assert float(sp.APGD(objective="dlr", n_targets=2)(net, x, y, wider).success.double().mean()) <= 0.2
        return
    rival = sp.CarliniWagner(steps=200, initial_c=1.0, n_targets=2)(net, x, y, THREATS[norm]())
    both = fab.success & rival.success
    assert float((fab.distance / rival.distance)[both].median()) <= 1.02


@pytest.mark.parametrize(("n_targets", "planes_a_step", "walks"), [(0, 3, 1), (2, 1, 2), (9, 1, 3)])
@pytest.mark.parametrize("final", [0, 3])
def test_a_walk_costs_two_forwards_a_step_and_a_backward_for_each_plane(
    n_targets: int, planes_a_step: int, walks: int, final: int
) -> None:
    net, x, y = examples(4, rows=6)
    out = sp.FAB(steps=7, n_targets=n_targets, final=final)(sp.Model(net, bounds=NO_BOX), x, y, sp.L2(1e-6))
    assert not out.success.any()
    assert out.backwards.tolist() == [7 * walks * planes_a_step] * 6
    assert out.forwards.tolist() == [1 + walks * (2 * 7 + (final + 1 if final else 0))] * 6


def test_a_row_leaves_at_its_first_example_inside_the_radius() -> None:
    net, x, y = examples(2, rows=8)
    out = sp.FAB()(sp.Model(net, bounds=NO_BOX), x, y, sp.L2(torch.full((8,), 100.0)))
    assert out.backwards.tolist() == [1] * 8


@NORMS
def test_restarts_begin_half_the_known_distance_away_and_never_make_it_worse(norm: str) -> None:
    net = relu(18, 4, seed=4, width=32)
    x = torch.rand(20, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    y = net(x).argmax(1)
    problem = pose(x, y, THREATS[norm](0.4), (0.0, 1.0))
    known = torch.full((20,), torch.inf)
    points = [beside(problem, known, number) for number in (1, 1, 2)]
    assert torch.equal(points[0], points[1])
    assert not torch.equal(points[0], points[2])
    for row in (0, 7):  # of the example and the number alone
        assert torch.equal(beside(problem.take(torch.tensor([row])), known[:1], 2)[0], points[2][row])
    # Where the range cuts a ball, its points lie nearer, and what is left is drawn out to the same length.
    assert (distances(norm, points[0], x) <= 0.2 + 1e-6).all()
    assert float(np.median(distances(norm, points[0], x))) >= 0.15
    near = beside(problem, torch.full((20,), 0.1), 1)
    assert (distances(norm, near, x) <= 0.05 + 1e-6).all()

    alone, again = (sp.FAB(steps=10, restarts=times)(net, x, y, THREATS[norm]()) for times in (1, 3))
    assert bool((again.distance <= alone.distance).all())
    assert bool((again.distance < alone.distance).any())


def test_towards_a_class_it_reaches_that_class_at_its_own_boundary() -> None:
    net, x, y = examples(3)
    weight, bias = layer(net)
    # Class 0 borders on both others: from a point of class 1 or 2 the way there is as long as the farther plane says,
    # unless the two meet first, so at least as long as either alone.
    x, y = x[y != 0], y[y != 0]
    out = sp.FAB()(sp.Model(net, bounds=NO_BOX), x, None, sp.L2(), targets=torch.zeros_like(y))
    assert bool(out.success.all())
    assert bool((net(out.x).argmax(1) == 0).all())
    logits = double(x) @ weight.T + bias
    apart = [(logits[:, k] - logits[:, 0]) / np.linalg.norm(weight[k] - weight[0]) for k in (1, 2)]
    assert (out.distance.numpy() >= np.maximum(*apart) * (1 - 1e-5)).all()


@pytest.mark.parametrize(
    ("keywords", "name"),
    [
        ({"alpha_max": 1.5}, "alpha_max"),
        ({"eta": 0.9}, "eta"),
        ({"beta": 0.0}, "beta"),
        ({"final": -1}, "final"),
        ({"steps": 0}, "steps"),
        ({"restarts": 0}, "restarts"),
    ],
)
def test_wrong_settings_are_named(keywords: dict[str, Any], name: str) -> None:
    with pytest.raises(sp.InputError, match=rf"FAB has {name}="):
        replace(sp.FAB(), **keywords)


def test_new_starts_lie_at_half_the_distance_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 3.5: half of what was found so far, of the radius where nothing was."""
    from sparring.attacks.fab import attack

    asked: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    real = attack.beside

    def kept(problem: Any, known: torch.Tensor, number: int) -> torch.Tensor:
        start = real(problem, known, number)
        asked.append((problem.index, known, problem.region.distance(start)))
        return start

    monkeypatch.setattr(attack, "beside", kept)
    net = relu(6, 3)
    x = torch.rand(12, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = net(x).argmax(1)
    model = sp.Model(net, bounds=(-9.0, 9.0))
    first = sp.FAB(steps=10)(model, x, y, sp.L2())
    both = sp.FAB(steps=10, restarts=2)(model, x, y, sp.L2())
    assert first.success.all()
    ((index, known, away),) = asked
    torch.testing.assert_close(known, first.distance[index], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(away, known / 2, rtol=1e-3, atol=1e-5)
    assert (both.distance <= first.distance * (1 + 1e-5)).all()
    # With a radius in which nothing falls, half of that.
    asked.clear()
    small = float(first.distance.min()) / 50
    sp.FAB(steps=2, restarts=2)(model, x, y, sp.L2(small))
    ((_, known, away),) = asked
    assert known.isinf().all()
    torch.testing.assert_close(away, torch.full_like(away, small / 2), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("beyond", [True, False])
def test_a_step_tells_the_nearer_of_its_two_looks_that_err_and_the_second_where_none_does(beyond: bool) -> None:
    """With a step that goes half of the way to the boundary, from three times its distance, and from the example."""
    net = linear(6, 2)
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = net(x).argmax(1)
    problem = pose(x, y, sp.L2(), NO_BOX, seek="nearest")
    weight = (net[1].weight[1] - net[1].weight[0]).detach()
    way = torch.where(y == 0, 1.0, -1.0)[:, None] * weight / weight.norm()
    exact = torch.from_numpy(to_boundary("l2", net, x)).float()
    walk = Walk(steps=4, alpha_max=0.1, eta=0.5, beta=0.9, final=0)
    state = walk.start_at(problem, x + 3 * exact[:, None] * way if beyond else x)
    point, seen, now = walk.step(problem, Oracle(sp.Model(net, bounds=(-99.0, 99.0)), 8, x.device), state)
    with torch.no_grad():
        torch.testing.assert_close(seen.logits, net(point), rtol=1e-4, atol=1e-4)
        assert (net(point).argmax(1) != y).tolist() == [beyond] * 8
    # At 2 from beyond, and drawn to the 0.5 of a step from the example by a tenth.
    share = 0.9 * 2 + 0.1 * 0.5 if beyond else 0.5
    torch.testing.assert_close(problem.region.distance(point), share * exact, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(
        now.distance, share * exact if beyond else torch.full((8,), torch.inf), rtol=1e-3, atol=0
    )

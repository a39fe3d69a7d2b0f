"""The plans `a3` and `cr`, and constraint relaxation: exact on linear networks, row by row, free of the scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from models import Then, linear, relu
from reference import to_boundary
from sparring.attacks.constraint_relaxation import Cycles, beside
from sparring.attacks.cosine_pgd import CosinePGD
from sparring.evaluation import PLANS, Result
from sparring.evaluation.plans.a3 import AnyClass
from sparring.model import Model
from sparring.objectives import margin
from sparring.oracle import Oracle
from sparring.problem import Goal, Problem, pose
from sparring.solve import solve

THREATS = {"linf": sp.Linf, "l2": sp.L2}
NAMES = ("a3", "cr")
WIDE = (-20.0, 20.0)


def given(classes: int, rows: int = 24) -> tuple[nn.Module, Tensor, Tensor]:
    net = linear(16, classes, seed=classes)
    x = torch.randn(rows, 16, generator=torch.Generator().manual_seed(1))
    return net, x, net(x).argmax(1)


def curved(rows: int = 30) -> tuple[nn.Module, Tensor, Tensor]:
    net = relu(16, 4, seed=2)
    x = torch.rand(rows, 16, generator=torch.Generator().manual_seed(3))
    return net, x, net(x).argmax(1)


def posed(net: nn.Module, x: Tensor, y: Tensor, threat: sp.Linf, seed: int = 0) -> tuple[Problem, Oracle]:
    """A problem and its oracle, as an attack is given them."""
    problem, oracle = pose(x, y, threat, (0.0, 1.0), seed=seed), Oracle(Model.of(net), len(x), x.device)
    return replace(problem, clean=oracle.logits(problem, x)), oracle


@pytest.mark.parametrize("norm", THREATS)
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("plan", NAMES)
def test_on_a_linear_network_it_is_right_about_every_example(plan: str, classes: int, norm: str) -> None:
    net, x, y = given(classes)
    times = np.where(np.arange(len(x)) % 2 == 0, 0.98, 1.02)
    threat = THREATS[norm](torch.from_numpy(times * to_boundary(norm, net, x)).float())
    result = sp.evaluate(sp.Model(net, bounds=WIDE), (x, y), threat, plan=plan)
    assert result.robust.tolist() == (times < 1).tolist()


@pytest.mark.parametrize("norm", THREATS)
def test_the_walk_alone_is_right_on_two_linear_classes(norm: str) -> None:
    """What short PGD finds is not told to the walk."""
    net, x, y = given(2)
    times = np.where(np.arange(len(x)) % 2 == 0, 0.98, 1.02)
    radius = torch.from_numpy(times * to_boundary(norm, net, x)).float()
    problem = pose(x, y, THREATS[norm](radius), WIDE)
    oracle = Oracle(sp.Model(net, bounds=WIDE), len(x), x.device)
    walk = Cycles(30, 30, hopeless=np.inf)
    found = solve(walk, problem, oracle)
    assert found.success.tolist() == (times > 1).tolist()
    assert bool(problem.region.contains(found.x).all())


@pytest.mark.parametrize("threat", [sp.Linf(0.02), sp.L2(0.1)])
@pytest.mark.parametrize("plan", NAMES)
def test_results_do_not_depend_on_the_block(plan: str, threat: sp.Linf) -> None:
    net, x, y = curved()
    one, other = (sp.evaluate(net, (x, y), threat, plan=plan, batch_size=size) for size in (30, 7))
    assert 0 < one.robust.sum() < len(x)
    assert_same(one, other)


@pytest.mark.parametrize("factor", [100.0, 0.01])
@pytest.mark.parametrize("plan", NAMES)
def test_the_scale_of_the_logits_changes_nothing(plan: str, factor: float) -> None:
    """Cross-entropy saturates, so where short PGD ends differs, and what costs; what falls does not."""
    net, x, y = curved()
    scaled = Then(net, lambda logits: factor * logits)
    one, other = (sp.evaluate(each, (x, y), sp.Linf(0.02), plan=plan) for each in (net, scaled))
    assert torch.equal(one.robust, other.robust)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("factor", [128.0, 2.0**-7])
def test_a_walk_takes_the_same_steps_whatever_the_scale(factor: float, classes: int) -> None:
    net = relu(16, classes, seed=2)
    x = torch.rand(20, 16, generator=torch.Generator().manual_seed(3))
    y = net(x).argmax(1)
    attack, spent = sp.ConstraintRelaxation(steps=60, first=0), []
    for network in (net, Then(net, lambda logits: factor * logits)):
        problem, oracle = posed(network, x, y, sp.Linf(0.02))
        found = attack.run(problem, oracle)
        spent.append((found.success.tolist(), oracle.forwards.tolist(), oracle.backwards.tolist()))
    assert spent[0] == spent[1]


def test_a_hopeless_pair_is_given_up_after_two_thirds_of_a_cycle() -> None:
    net, x, y = given(10, rows=6)
    result = sp.evaluate(sp.Model(net, bounds=WIDE), (x, y), sp.Linf(1e-6), plan="cr")
    assert bool(result.robust.all())
    gap = net(x).detach().topk(3).values
    close = (gap[:, 0] - gap[:, 1]) / (gap[:, 0] - gap[:, 2]) < 0.25  # the runner-up alone may be so
    far = ~close
    assert bool(far.any())
    # The clean look; ten gradients and a last look; two thirds of a cycle for each of three.
    assert result.block.forwards[far, :-1].sum(1).tolist() == [1 + 11 + 3 * 20] * int(far.sum())
    assert result.block.backwards[far, :-1].sum(1).tolist() == [10 + 3 * 20] * int(far.sum())
    assert bool((result.block.backwards[close].sum(1) > 70).all())


def test_only_pairs_that_came_close_are_walked_again() -> None:
    net, x, y = curved(rows=200)
    once, often = (sp.ConstraintRelaxation(restarts=times)(net, x, y, sp.Linf(0.02)) for times in (1, 5))
    never = sp.ConstraintRelaxation(restarts=5, close=0.0)(net, x, y, sp.Linf(0.02))
    assert torch.equal(never.backwards, once.backwards)
    again = often.backwards > once.backwards
    assert bool(again.any())
    assert not bool((again & once.success).any())
    assert not bool(again.all())


def test_fooled_rows_leave_at_once() -> None:
    net, x, y = given(2)
    radius = torch.from_numpy(4 * to_boundary("linf", net, x)).float()
    out = sp.ConstraintRelaxation()(sp.Model(net, bounds=WIDE), x, y, sp.Linf(radius))
    assert bool(out.success.all())
    assert int(out.backwards.max()) <= 3


def test_points_in_the_larger_ball_never_count_and_the_way_there_is_as_published() -> None:
    """Distances of the looks of two cycles, in radii: on a linear network every step goes straight out."""
    net, x, y = given(2, rows=4)
    problem = pose(x, y, sp.Linf(1e-3), WIDE)
    oracle = Oracle(sp.Model(net, bounds=WIDE), 4, x.device)
    walk = Cycles(60, 30, hopeless=np.inf)
    state, far, told = walk.start(problem), [], []
    for _ in range(61):
        at, seen, state = walk.step(problem, oracle, state)
        far.append(float(problem.region.distance(at).max()) / 1e-3)
        told.append(seen is not None)
    assert told == [not 0 < step % 30 < 10 for step in range(61)]
    for cycle, share in ((0, 0.5), (30, 0.25)):
        assert far[cycle + 9] == pytest.approx(1 + share, rel=1e-2)
        assert max(far[cycle + 10 : cycle + 30]) == pytest.approx(1, rel=1e-2)
    assert all(distance <= 1.01 for distance, shown in zip(far, told, strict=True) if shown)
    assert oracle.forwards.tolist() == [61] * 4
    assert oracle.backwards.tolist() == [60] * 4


@pytest.mark.parametrize("threat", [sp.Linf(0.1), sp.L2(0.3)])
def test_beside_is_inside_and_as_far_from_the_shrunken_point_as_the_share_says(threat: sp.Linf) -> None:
    net, x, y = curved()
    problem, _ = posed(net, x, y, threat)
    edge = problem.region.project(x + 1)
    points = beside(problem, edge, 0.25, step=20)
    inner = problem.region.resized(0.75 * problem.region.radius).project(edge)
    assert bool(problem.region.contains(points).all())
    assert bool(replace(problem.region, centre=inner, radius=0.25 * problem.region.radius).contains(points).all())
    assert bool((points != inner).any())


def test_classes_are_ranked_where_pgd_ended_and_their_number_follows_that_of_the_classes() -> None:
    attack = sp.ConstraintRelaxation()
    label = torch.tensor([1, 0])
    for classes, count in ((2, 1), (3, 2), (4, 3), (10, 3), (100, 5), (1000, 7)):
        logits = torch.randn(2, classes, generator=torch.Generator().manual_seed(classes))
        problem = replace(pose(torch.rand(2, 3), label, sp.Linf(0.1), (0.0, 1.0)), clean=-logits)
        wrong = logits.scatter(1, label[:, None], -torch.inf)
        assert torch.equal(attack._aims(problem, logits), wrong.topk(count).indices)


@pytest.mark.parametrize("change", [{"period": 2}, {"first": -1}, {"hopeless": -1.0}, {"close": float("nan")}])
def test_settings_that_mean_nothing_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(sp.InputError, match=f"ConstraintRelaxation has {next(iter(change))}="):
        sp.ConstraintRelaxation(**change)  # type: ignore[arg-type]


def test_the_plans_fit_the_threats_that_they_have_a_form_for() -> None:
    net, x, y = curved(rows=4)
    for threat in (sp.L1(0.1), sp.L0(1)):
        with pytest.raises(sp.InputError, match="ConstraintRelaxation has no form for"):
            sp.evaluate(net, (x, y), threat, plan="cr")
        assert len(sp.evaluate(net, (x, y), threat, plan="a3").robust) == 4


def test_a3_has_its_rounds() -> None:
    """Steps, starting steps, runs, and limits that only tighten."""
    rungs = PLANS["a3"]("linf")
    attacks = [rung.attack for rung in rungs if isinstance(rung.attack, CosinePGD)]
    assert len(attacks) == len(rungs)
    told = [(a.steps, a.scatter, a.restarts * max(1, a.n_targets)) for a in attacks]
    assert [steps for steps, _, _ in told] == [8, 8, 8, 25, 30, 30, 35, 40, 45, 50, 50, 55, 60]
    assert [scatter for _, scatter, _ in told] == [0] + 12 * [7]
    assert [runs for _, _, runs in told] == 10 * [1] + [4, 4, 48]
    limits = [rung.within for rung in rungs]
    assert limits == sorted(limits, reverse=True)
    assert [attack.after for attack in attacks[2:10]] == [0, 1, 2, 3, 0, 1, 2, 3]


def test_a_start_may_lean_towards_a_class_and_the_loss_not() -> None:
    logits = torch.tensor([[1.0, 4.0, 3.0], [2.0, 0.0, 1.0]])
    aimed = Goal(torch.tensor([1, 0]), aim=torch.tensor([0, 1]))
    assert AnyClass()(logits, aimed).tolist() == [-1.0, -1.0]
    assert margin(logits, aimed).tolist() == [-3.0, -2.0]


def test_rows_that_never_came_close_leave_a3_after_three_rounds() -> None:
    net, x, y = given(5, rows=60)
    gap = net(x).detach().topk(3).values
    sure = (gap[:, 0] - gap[:, 1]) / (gap[:, 0] - gap[:, 2]) > 0.6
    result = sp.evaluate(sp.Model(net, bounds=WIDE), (x[sure], y[sure]), sp.Linf(1e-6), plan="a3")
    # 8 gradients and a last look; 7 of a start more in each of the next two rounds.
    assert result.block.forwards[:, :-1].sum(1).tolist() == [1 + 9 + 16 + 16] * int(sure.sum())
    assert result.block.backwards[:, :-1].sum(1).tolist() == [8 + 15 + 15] * int(sure.sum())


def assert_same(one: Result, other: Result) -> None:
    assert torch.equal(one.robust, other.robust)
    assert torch.equal(one.block.forwards, other.block.forwards)
    assert torch.equal(one.block.backwards, other.block.backwards)

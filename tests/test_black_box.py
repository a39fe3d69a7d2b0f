"""Square and HopSkipJump, which never ask for a gradient, against what can be computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from models import Then, linear, relu
from quick import ATTACKS, FORMS, NORMS, quick
from reference import to_boundary
from sparring.attacks.hop_skip_jump.hopping import anywhere
from sparring.attacks.square.attack import HALVINGS, RandomSearch
from sparring.attacks.square.plane import Plane, halves, hill
from sparring.attacks.square.proposals import CHANCES, Flips, Masses
from sparring.objectives import margin
from sparring.oracle import Oracle
from sparring.problem import Outcome, Problem, pose
from sparring.searches import settled

WITHOUT = tuple(name for name in ATTACKS if not quick(name).gradients)
BLIND = pytest.mark.parametrize(("name", "norm"), [form for form in FORMS if form[0] in WITHOUT])
NO_BOX = (-float("inf"), float("inf"))
SHAPES = pytest.mark.parametrize("shape", [(3, 9, 7), (1, 12, 12), (2, 3, 3), (20,), (6, 10), (2, 2, 6, 6)], ids=str)


def middling(classes: int, rows: int, norm: str, seed: int = 1) -> tuple[nn.Module, Tensor, Tensor]:
    """A linear network whose boundaries meet mid-range, points far from the box, and their exact distances."""
    net = linear(24, classes, seed=classes)
    with torch.no_grad():
        net[1].bias.copy_(-net[1].weight.sum(1) / 2)
    x = 0.3 + 0.4 * torch.rand(20 * rows, 24, generator=torch.Generator().manual_seed(seed))
    exact = torch.from_numpy(to_boundary(norm, net, x)).float()
    far = exact > 0.02
    return net, x[far][:rows], exact[far][:rows]


def posed(norm: str, shape: tuple[int, ...], eps: float = 0.1, rows: int = 16, box: bool = False) -> Problem:
    x = torch.rand((rows, *shape), generator=torch.Generator().manual_seed(0))
    threat = NORMS[norm](eps)
    return pose(x, torch.zeros(rows, dtype=torch.int64), threat, (0.0, 1.0) if box else NO_BOX)


# --- HopSkipJump against the closed form ---------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "most", "usual"), [("l2", 1.02, 1.01), ("linf", 1.04, 1.01)])
def test_hop_skip_jump_ends_within_a_few_percent_of_the_exact_distance_and_never_below(
    norm: str, most: float, usual: float
) -> None:
    net, x, exact = middling(2, 16, norm)
    out = sp.HopSkipJump()(net, x, net(x).argmax(1), NORMS[norm]())
    ratio = (out.distance / exact).numpy()
    assert bool(out.success.all())
    assert ratio.min() >= 1 - 1e-5
    assert ratio.max() <= most
    assert np.median(ratio) <= usual
    assert not out.backwards.any()


def test_restarts_of_hop_skip_jump_find_the_nearest_of_several_boundaries() -> None:
    net, x, exact = middling(5, 16, "l2")
    attack = sp.HopSkipJump(steps=12, initial_evaluations=40)
    once, again = (replace(attack, restarts=times)(net, x, net(x).argmax(1), sp.L2()) for times in (1, 4))
    assert float((once.distance / exact).amax()) > 1.3  # the boundary of another class
    assert float((again.distance / exact).amax()) < 1.2
    assert float((again.distance / exact).amin()) >= 1 - 1e-5


def test_given_a_radius_hop_skip_jump_stops_at_the_first_point_inside() -> None:
    net, x, exact = middling(2, 16, "l2")
    nearest = sp.HopSkipJump()(net, x, net(x).argmax(1), sp.L2())
    inside = sp.HopSkipJump()(net, x, net(x).argmax(1), sp.L2(1.3 * exact))
    hopeless = sp.HopSkipJump(steps=4)(net, x, net(x).argmax(1), sp.L2(0.98 * exact))
    assert bool(inside.success.all())
    assert bool((inside.forwards < nearest.forwards / 2).all())
    assert not hopeless.success.any()
    assert torch.equal(hopeless.x, x)


def test_an_example_without_a_misclassified_start_fails_alone() -> None:
    """Class 0 wherever the first feature is below 0.9; held still by the mask, it can rise in no random point."""
    net = Then(nn.Flatten(), lambda z: torch.stack([0.9 - z[:, 0], torch.zeros(len(z))], dim=1))
    x = torch.full((4, 6), 0.5)
    mask = torch.ones(4, 6, dtype=torch.bool)
    mask[1::2, 0] = False
    out = sp.HopSkipJump(steps=2)(net, x, torch.zeros(4, dtype=torch.int64), sp.L2(mask=mask))
    assert out.success.tolist() == [True, False, True, False]
    assert torch.equal(out.x[1::2], x[1::2])
    assert out.forwards[1::2].tolist() == [1 + 100 + 1] * 2  # the opening look, the tries, and the last word


def test_hop_skip_jump_sees_decisions_and_nothing_else() -> None:
    """Any increasing change of the logits leaves every decision, and so every bit, as it is."""
    net, x, _ = middling(3, 8, "l2")
    attack = sp.HopSkipJump(steps=5, initial_evaluations=20)
    changes: list[Callable[[Tensor], Tensor]] = [
        lambda z: z,
        lambda z: 5 * z.double() ** 3 - 7,
        lambda z: nn.functional.one_hot(z.argmax(1), 3).double(),
    ]
    outs = [attack(Then(net, change), x, net(x).argmax(1), sp.L2()) for change in changes]
    for out in outs[1:]:
        assert torch.equal(out.x, outs[0].x)
        assert torch.equal(out.forwards, outs[0].forwards)


def test_a_point_that_rounding_carried_back_over_the_boundary_is_moved_a_thousandth_out() -> None:
    net, x, exact = middling(2, 8, "l2")
    slope = (net[1].weight[1] - net[1].weight[0]).detach()
    problem = pose(x, net(x).argmax(1), sp.L2(), NO_BOX)
    way = torch.where(net(x).argmax(1) == 0, 1.0, -1.0)[:, None] * slope / slope.norm()
    short = torch.where(torch.arange(8) % 2 == 0, 0.9995, 1.0005)
    found = replace(Outcome.none(problem), x=x + (short * exact)[:, None] * way, success=torch.ones(8).bool())
    out = settled(problem, Oracle(sp.Model(net), 8, x.device), found)
    assert torch.equal(out.x[1::2], found.x[1::2])
    assert bool(problem.goal.reached(net(out.x)).all())
    torch.testing.assert_close(problem.region.distance(out.x)[::2], 1.0005 * exact[::2], rtol=1e-4, atol=0)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2.0, 3.0), NO_BOX, (0.0, float("inf"))])
def test_starts_are_spread_over_the_input_range(bounds: tuple[float, float]) -> None:
    low, high = bounds
    x = torch.full((64, 10), 0.5)
    problem = pose(x, torch.zeros(64, dtype=torch.int64), sp.L2(), bounds)
    points = torch.stack([anywhere(problem, number) for number in range(40)])
    assert bool(points.isfinite().all())
    assert bool(((points >= low) & (points <= high)).all())
    if high - low < float("inf"):
        plain = points[::2]
        assert float(plain.mean()) == pytest.approx((low + high) / 2, abs=0.02 * (high - low))
        assert float(plain.std()) == pytest.approx((high - low) / 12**0.5, rel=0.03)
        toned = points[1::2].mean(2)  # brightness of whole points: far more spread than the mean of ten features
        assert float(toned.std()) > 2 * float(plain.mean(2).std())


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_no_pass_takes_many_more_rows_than_the_batch_size(rows: int) -> None:
    net, x, _ = middling(2, 8, "l2")
    sizes: list[int] = []
    net.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    y = net(x).argmax(1)
    attack = sp.HopSkipJump(steps=3, initial_evaluations=100, batch_size=rows)
    sizes.clear()
    attack(net, x, y, sp.L2())
    assert max(sizes) <= max(rows, 32)  # the 32 probes that one example makes together are never parted


# --- Square against the closed form --------------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "times"), [("linf", 1.5), ("l2", 2.0), ("l1", 2.0)])
@pytest.mark.parametrize("classes", [2, 5])
def test_square_breaks_a_linear_network_well_beyond_its_boundary_and_never_before(
    norm: str, times: float, classes: int
) -> None:
    net, x, exact = middling(classes, 32, norm)
    attack, y = sp.Square(queries=400), net(x).argmax(1)
    beyond = attack(net, x, y, NORMS[norm](times * exact))
    before = attack(net, x, y, NORMS[norm](0.98 * exact))
    assert bool(beyond.success.all())
    assert not before.success.any()
    assert before.forwards.tolist() == [1 + 400] * 32
    assert int(beyond.forwards.double().mean()) < 100
    assert not beyond.backwards.any()


def test_restarts_of_square_go_to_the_rows_that_still_stand() -> None:
    net, x, exact = middling(2, 32, "l2")
    y, threat = net(x).argmax(1), sp.L2(1.4 * exact)
    once, again = (sp.Square(queries=60, restarts=times)(net, x, y, threat) for times in (1, 3))
    assert bool((again.success | ~once.success).all())
    assert int(again.success.sum()) > int(once.success.sum())
    assert set(again.forwards[~again.success].tolist()) <= {1 + 3 * 60}


# --- The structure of Square's candidates --------------------------------------------------------------------------


def chances(problem: Problem, step: int) -> Tensor:
    numbers = CHANCES + Plane.of(problem.x).channels
    return problem.draws.at("window").uniform(problem.index, step, (numbers,), torch.float64)


@SHAPES
def test_linf_candidates_are_corners_that_differ_in_one_window_of_each_row(shape: tuple[int, ...]) -> None:
    problem = posed("linf", shape)
    plane, flips = Plane.of(problem.x), Flips()
    x = flips.first(problem)
    stripes = plane.flat(x - problem.x).reshape(-1, plane.channels, plane.height, plane.width)
    torch.testing.assert_close(stripes, stripes[:, :, :1].expand_as(stripes))  # vertical stripes
    places = set()
    for step, share in enumerate((0.8, 0.3, 0.1, 0.05, 0.001)):
        moved = flips.after(problem, x, chances(problem, step), share)
        torch.testing.assert_close((moved - problem.x).abs(), torch.full_like(x, 0.1))
        height, width = plane.window(share)
        differ = (plane.flat(moved) != plane.flat(x)).reshape(-1, plane.channels, plane.height, plane.width)
        assert bool(differ.flatten(1).any(1).all())  # no query is wasted
        for row, one in enumerate(differ.any(1)):
            down, across = (one.any(axis).nonzero().flatten() for axis in (1, 0))
            assert int(down[-1] - down[0]) < height
            assert int(across[-1] - across[0]) < width
            places.add((row, int(down[0]), int(across[0])))
        x = moved
    assert len({place[1:] for place in places}) > 3  # the rows' windows lie apart


@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("l1", 1)])
@SHAPES
def test_l2_and_l1_candidates_use_the_whole_radius_and_change_two_windows(
    norm: str, order: int, shape: tuple[int, ...]
) -> None:
    problem = posed(norm, shape, eps=0.7)
    plane, masses = Plane.of(problem.x), Masses(order)
    x = masses.first(problem)
    for step, share in enumerate((0.8, 0.3, 0.1, 0.05, 0.001)):
        assert float((problem.region.distance(x) - 0.7).abs().amax()) < 1e-5
        assert bool(problem.region.contains(x).all())
        chance = chances(problem, step)
        moved = masses.after(problem, x, chance, share)
        size = plane.window(share, max(1, min(3, plane.height // 2, plane.width // 2)))
        inside = torch.zeros_like(plane.flat(x), dtype=torch.bool)
        for at in (plane.cells(chance[:, :2], size), plane.cells(chance[:, 2:4], size)):
            inside = inside.scatter(2, at, True)
        torch.testing.assert_close(plane.flat(moved)[~inside], plane.flat(x)[~inside], rtol=0, atol=1e-6)
        x = moved


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@SHAPES
def test_in_a_box_candidates_stay_inside_and_what_was_cut_off_is_spent_again(norm: str, shape: tuple[int, ...]) -> None:
    problem = posed(norm, shape, eps=0.9, box=True)
    proposal = Flips() if norm == "linf" else Masses(1 if norm == "l1" else 2)
    x = proposal.first(problem)
    for step in range(20):
        assert bool(problem.region.contains(x).all())
        x = proposal.after(problem, x, chances(problem, step), 0.2)
    assert float(problem.region.distance(x).mean()) > 0.6


def test_a_hill_is_the_papers_sum_over_nested_squares() -> None:
    """Written as the paper has it: square k, of side 2 k + 1 around the middle, weighs 1 / (k + 1)²."""
    expected = np.zeros((7, 7))
    for k in range(4):
        expected[3 - k : 4 + k, 3 - k : 4 + k] += 1 / (k + 1) ** 2
    np.testing.assert_allclose(hill(7, 7).numpy(), expected)
    both = halves(6, 5)
    assert bool((both[:3] > 0).all())
    assert torch.equal(both[3:], -both[:3])


def test_windows_shrink_as_published() -> None:
    search = RandomSearch(10_000, 0.8, margin, Flips())
    for halvings, after in enumerate(HALVINGS):
        assert search.share(after) == 0.8 / 2**halvings
        assert search.share(after + 1) == 0.8 / 2 ** (halvings + 1)
    assert replace(search, queries=1000).share(51) == search.share(510)
    assert replace(search, queries=1000, horizon=10_000).share(510) == search.share(510)
    assert Plane(3, 32, 32).window(0.8) == (29, 29)
    assert Plane(3, 32, 32).window(0.8 / 512) == (1, 1)
    assert Plane(1, 1, 100).window(0.3) == (1, 30)  # a flat input: a run of features
    assert Plane(1, 4, 100).window(0.8) == (4, 80)
    assert Plane(1, 100, 4).window(0.8) == (80, 4)


# --- Where gradients say nothing -----------------------------------------------------------------------------------

MASKS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "rounded input": lambda net: Then(nn.Identity(), lambda x: net((x * 16).round() / 16)),
    "one-hot logits": lambda net: Then(net, lambda z: nn.functional.one_hot(z.argmax(1), z.shape[1]).float()),
    "NumPy": lambda net: Then(net, lambda z: torch.from_numpy(z.detach().numpy().copy())),
}


@BLIND
@pytest.mark.parametrize("mask", MASKS)
def test_an_attack_without_gradients_works_where_there_are_none(name: str, norm: str, mask: str) -> None:
    plain, x, _ = middling(3, 12, norm)
    net = MASKS[mask](plain)
    y = sp.Model(net)(x).argmax(1)
    eps = 4 * torch.from_numpy(to_boundary(norm, plain, x)).float().clamp_min(0.03)
    out = replace(quick(name), restarts=3)(net, x, y, NORMS[norm](eps))
    # One-hot logits leave a search by score nothing to climb; luck is all it has there.
    assert float(out.success.float().mean()) >= (0.2 if (name, mask) == ("square", "one-hot logits") else 0.9)
    assert not out.backwards.any()
    assert torch.equal(out.success, sp.Model(net)(out.x).argmax(1) != y)


def test_both_break_a_quantised_network_on_which_pgd_stands_still() -> None:
    plain, x, exact = middling(2, 16, "linf")
    net = MASKS["rounded input"](plain)
    y, threat = net(x).argmax(1), sp.Linf(2 * exact.clamp_min(0.05))
    pgd = sp.PGD(random_start=False)(net, x, y, threat)
    assert not pgd.success.any()
    assert torch.equal(pgd.zero_gradients, pgd.backwards)
    for attack in (sp.Square(queries=300), sp.HopSkipJump(steps=10, initial_evaluations=40, restarts=2)):
        assert bool(attack(net, x, y, threat).success.all()), attack


@BLIND
def test_targets_are_reached_by_decisions_and_scores_alone(name: str, norm: str) -> None:
    net, x, _ = middling(3, 12, norm)
    targets = (net(x).argmax(1) + 1) % 3
    out = replace(quick(name), restarts=2)(net, x, None, NORMS[norm](3.0 if norm != "linf" else 0.7), targets=targets)
    assert torch.equal(out.success, net(out.x).argmax(1) == targets)
    assert float(out.success.float().mean()) > 0.9


@BLIND
def test_strongest_returns_a_point_inside_the_region(name: str, norm: str) -> None:
    net, x, exact = middling(2, 8, norm)
    threat = NORMS[norm](exact)
    out = quick(name)(net, x, net(x).argmax(1), threat, seek="strongest")
    assert bool(threat.around(x, (0.0, 1.0)).contains(out.x).all())
    if name == "square":
        goal = pose(x, net(x).argmax(1), threat, (0.0, 1.0)).goal
        assert bool((margin(net(out.x), goal) > margin(net(x), goal)).all())


@pytest.mark.parametrize("norm", [sp.Linf(0.1), sp.L2(0.5), sp.L1(1.0)])
def test_asked_for_the_strongest_square_returns_the_best_of_all_that_it_looked_at(norm: Any) -> None:
    looked: list[torch.Tensor] = []

    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = relu(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            looked.append(x.clone())
            return self.net(x)

    net = Kept()
    x = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = net(x).argmax(1)
    looked.clear()
    out = sp.Square(queries=40)(net, x, y, norm, seek="strongest")

    def margins(at: torch.Tensor) -> torch.Tensor:
        z = net.net(at)
        return z.scatter(1, y[:, None], -torch.inf).amax(1) - z.gather(1, y[:, None]).squeeze(1)

    with torch.no_grad():
        best = torch.stack([margins(at) for at in looked if len(at) == 5]).amax(0)
        torch.testing.assert_close(margins(out.x), best)
        assert (margins(out.x) > margins(x)).any()


@pytest.mark.parametrize("count", [1, 31, 32, 33, 70])
def test_hop_skip_jump_asks_as_many_probes_as_it_may(count: int) -> None:
    from sparring.attacks.hop_skip_jump.hopping import Hopping

    x = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    problem = pose(x, torch.zeros(3, dtype=torch.int64), sp.L2(1.0), (0.0, 1.0))
    probes = torch.cat(list(Hopping._probes(None, problem, problem.region, 1, count)))  # type: ignore[arg-type]
    assert probes.shape == (count, *x.shape)
    torch.testing.assert_close(probes.flatten(2).norm(dim=2), torch.ones(count, 3))


def test_tiles_cover_the_image_and_the_last_ones_what_is_left_over() -> None:
    from sparring.attacks.square.plane import tiles

    picture, number = tiles(Plane(2, 7, 8), (3, 4))
    tile = number.reshape(7, 8)
    assert tile.tolist() == [[0] * 4 + [1] * 4] * 3 + [[2] * 4 + [3] * 4] * 4
    drawn = picture.reshape(7, 8)
    assert torch.equal(drawn[:3, :4], halves(3, 4))
    assert torch.equal(drawn[3:6, 4:], halves(3, 4))
    assert not drawn[6].any()


def test_the_probes_of_one_time_fill_no_more_memory_than_a_small_picture_does() -> None:
    """32,768 numbers an example, 32 probes at most, and one at least."""
    from sparring.attacks.hop_skip_jump.hopping import Hopping

    for side, most in ((4, 32), (32, 32), (64, 8), (200, 1)):
        x = torch.zeros(1, 1, side, side)
        problem = pose(x, torch.zeros(1, dtype=torch.int64), sp.L2(1.0), (0.0, 1.0))
        blocks = list(Hopping._probes(None, problem, problem.region, 1, most + 1))  # type: ignore[arg-type]
        assert [len(block) for block in blocks] == [most, 1]


def test_the_normal_is_the_mean_decision_subtracted_monte_carlo_estimate() -> None:
    """Equation 16 of the paper: sum of (decision - mean decision) · push over the probes, recounted from the probes."""
    from sparring.attacks.hop_skip_jump.hopping import Hop, Hopping

    wide = linear(12, 2)
    x = 0.5 + 0.01 * torch.rand(3, 12, generator=torch.Generator().manual_seed(0))
    problem = pose(x, wide(x).argmax(1), sp.L2(), NO_BOX)
    asked: list[Tensor] = []

    class Told(Hopping):
        def _wrong(self, problem: Problem, oracle: Oracle, x: Tensor) -> Tensor:
            asked.append(x)
            return x.sum(2) > x.sum(2).quantile(0.8, dim=0)  # a fifth of the probes, so that the mean is far from 0

    search: Any = Told(steps=1, first=50, most=100, tries=1, theta=0.01, rows=100)
    here = x + 0.3
    found = search._normal(problem, None, problem.region, Hop(here, torch.zeros(3).bool(), hops=1))
    push = torch.cat(asked) - here
    assert len(push) == 50
    decision = torch.cat([2 * (at.sum(2) > at.sum(2).quantile(0.8, dim=0)).float() - 1 for at in asked])
    centred = (decision - decision.mean(0))[:, :, None]
    assert float(decision.mean()) < -0.5
    torch.testing.assert_close(found, (centred * push).sum(0), rtol=1e-4, atol=1e-6)

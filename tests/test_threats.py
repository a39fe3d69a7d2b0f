"""Threats: membership, distance, the nearest point of ball ∩ box, the dual step and samples, against NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

import sparring as sp
from reference import DUAL, distances, double, nearest, nearest_sparse
from sparring.draws import Draws
from sparring.threats import Ball, Norm, parse

INF = float("inf")
CONVEX = pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
ALL = pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
CLASSES: dict[str, type[Norm]] = {"linf": sp.Linf, "l2": sp.L2, "l1": sp.L1, "l0": sp.L0}


@dataclass(frozen=True)
class Case:
    """A region, and points to project onto it."""

    norm: str
    bounds: tuple[float, float]
    centre: Tensor
    radius: Tensor
    x: Tensor
    region: Ball


@st.composite
def cases(draw: st.DrawFn, norm: str) -> Case:
    """One to three examples, flat or images, in several ranges, each with its own radius."""
    low, high = bounds = draw(st.sampled_from([(0.0, 1.0), (-1.5, 4.0), (-3.0, -2.0), (-INF, INF)]))
    shape = draw(st.sampled_from([(1, 6), (3, 4), (2, 2, 2, 2), (1, 3, 1, 3)]))
    inside = st.floats(max(low, -4), min(high, 4), width=32)
    centre = torch.from_numpy(draw(arrays(np.float32, shape, elements=inside)))
    x = torch.from_numpy(draw(arrays(np.float32, shape, elements=st.floats(-8, 8, width=32))))
    radii = st.integers(0, 5) if norm == "l0" else st.one_of(st.just(0.0), st.floats(2**-10, 6, width=32))
    radius = torch.tensor(draw(st.lists(radii, min_size=len(x), max_size=len(x))), dtype=torch.float32)
    return Case(norm, bounds, centre, radius, x, CLASSES[norm](radius).around(centre, bounds))


def lies_inside(case: Case, point: Tensor) -> bool:
    """Distance <= radius (1 + 1e-6) + 4 ulp in double precision, and inside the box without any slack."""
    ulp = np.finfo(np.float32).eps * np.abs(double(case.centre)).reshape(len(point), -1).max(1)
    near = distances(case.norm, point, case.centre) <= double(case.radius) * (1 + 1e-6) + 4 * ulp
    low, high = case.bounds
    return bool(near.all() and (double(point) >= low).all() and (double(point) <= high).all())


@ALL
@given(data=st.data())
def test_projection_lies_inside_ball_and_box(norm: str, data: st.DataObject) -> None:
    case = data.draw(cases(norm))
    point = case.region.project(case.x)
    assert lies_inside(case, point)
    assert bool(case.region.contains(point).all())


@CONVEX
@given(data=st.data())
def test_projection_is_the_nearest_point_found_by_bisection(norm: str, data: st.DataObject) -> None:
    case = data.draw(cases(norm))
    projected = double(case.region.project(case.x))
    for row in range(len(case.x)):
        x, centre = double(case.x[row]).ravel(), double(case.centre[row]).ravel()
        truth = nearest(case.norm, x, centre, float(case.radius[row]), *case.bounds)
        np.testing.assert_allclose(projected[row].ravel(), truth, atol=1e-5)


@CONVEX
@given(data=st.data())
def test_no_point_inside_lies_beyond_the_projection(norm: str, data: st.DataObject) -> None:
    """The characterisation of a nearest point of a convex set: <x - p, z - p> <= 0 for every z in it."""
    case = data.draw(cases(norm))
    projected = case.region.project(case.x)
    away = double(case.x - projected).reshape(len(case.x), -1)
    index = torch.arange(len(case.x))
    for step in range(5):
        other = case.region.sample(Draws(0), index, step)
        toward = double(other - projected).reshape(len(case.x), -1)
        assert ((away * toward).sum(1) <= 1e-4).all()


@given(cases("l0"))
def test_l0_projection_is_as_near_as_the_best_of_all_pixel_sets(case: Case) -> None:
    projected = double(case.region.project(case.x))
    for row in range(len(case.x)):
        channels = case.x.shape[1] if case.x.ndim == 4 else 1
        x, centre, point = (
            values.reshape(channels, -1) for values in (double(case.x[row]), double(case.centre[row]), projected[row])
        )
        best = nearest_sparse(x, centre, int(case.radius[row]), *case.bounds)
        assert ((point - x) ** 2).sum() <= best * (1 + 1e-5) + 1e-5


@ALL
@given(data=st.data())
def test_projecting_twice_is_projecting_once(norm: str, data: st.DataObject) -> None:
    case = data.draw(cases(norm))
    once = case.region.project(case.x)
    torch.testing.assert_close(case.region.project(once), once, rtol=0, atol=2e-6)


@ALL
@pytest.mark.parametrize("low", [0.0, -INF])
def test_a_row_is_projected_and_sampled_the_same_alone(norm: str, low: float) -> None:
    generator = torch.Generator().manual_seed(0)
    centre = torch.rand(60, 2, 3, 3, generator=generator)
    x = torch.randn(60, 2, 3, 3, generator=generator) * torch.logspace(-6, 0, 60)[:, None, None, None]
    radius = torch.arange(60) % 20  # some points lie inside, some outside
    region = CLASSES[norm](radius).around(centre, (low, 1.0))
    index = torch.arange(60)
    projected, drawn = region.project(x), region.sample(Draws(0), index, 0)
    for row in index.split(1):
        assert torch.equal(region.take(row).project(x[row]), projected[row])
        assert torch.equal(region.take(row).sample(Draws(0), row, 0), drawn[row])


@ALL
@given(data=st.data())
def test_distance_is_what_numpy_says(norm: str, data: st.DataObject) -> None:
    case = data.draw(cases(norm))
    # The difference is taken in single precision; from there on no digit is lost.
    ulp = np.finfo(np.float32).eps * 8 * (case.x[0].numel() if case.norm == "l1" else 2)
    truth = distances(case.norm, case.x, case.centre)
    np.testing.assert_allclose(double(case.region.distance(case.x)), truth, rtol=1e-6, atol=ulp)


@ALL
@given(data=st.data())
def test_samples_lie_inside_ball_and_box(norm: str, data: st.DataObject) -> None:
    case = data.draw(cases(norm))
    assert lies_inside(case, case.region.sample(Draws(4), torch.arange(len(case.x)), 2))


@CONVEX
@given(data=st.data())
def test_steepest_attains_the_dual_norm_with_unit_length(norm: str, data: st.DataObject) -> None:
    case = data.draw(cases(norm))
    free = CLASSES[case.norm](1).around(case.centre, (-INF, INF))
    direction = free.steepest(case.x, case.centre)
    flat = double(case.x).reshape(len(case.x), -1)
    gained = (flat * double(direction).reshape(flat.shape)).sum(1)
    np.testing.assert_allclose(gained, np.linalg.norm(flat, ord=DUAL[case.norm], axis=1), rtol=1e-5, atol=1e-30)
    assert (distances(case.norm, direction, torch.zeros_like(direction)) <= 1 + 1e-6).all()


@CONVEX
def test_steepest_survives_gradients_near_the_smallest_number(norm: str) -> None:
    gradient = torch.tensor([[3e-38, -4e-38], [0.0, 0.0]])
    x = torch.full((2, 2), 0.5)
    direction = CLASSES[norm](1).around(x, (0.0, 1.0)).steepest(gradient, x)
    expected = {"linf": [1, -1], "l2": [0.6, -0.8], "l1": [0, -1]}[norm]
    torch.testing.assert_close(direction, torch.tensor([expected, [0, 0]], dtype=torch.float32))


def test_the_steepest_l1_step_takes_the_best_coordinate_that_can_still_move() -> None:
    x, gradient = torch.tensor([[1.0, 0.0, 0.5, 0.5]]), torch.tensor([[9.0, -8.0, 2.0, -7.0]])
    region = sp.L1(1).around(torch.full((1, 4), 0.5), (0.0, 1.0))
    assert region.steepest(gradient, x).tolist() == [[0, 0, 0, -1]]


@ALL
def test_a_mask_holds_the_rest_bit_for_bit(norm: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, far = torch.rand(4, 2, 3, 3, generator=generator), 9 * torch.randn(4, 2, 3, 3, generator=generator)
    mask = torch.tensor([[True, False, True], [False, True, False], [True, True, False]])
    region = CLASSES[norm](3, mask=mask).around(x, (0.0, 1.0))
    for point in (region.project(far), region.sample(Draws(0), torch.arange(4), 0)):
        assert torch.equal(point[..., ~mask], x[..., ~mask])
        assert (point != x).any()
        assert bool(region.contains(point).all())


@CONVEX
def test_the_steepest_step_under_a_mask_spends_nothing_on_what_is_held(norm: str) -> None:
    x, gradient = torch.full((1, 3), 0.5), torch.tensor([[9.0, 3.0, 4.0]])
    region = CLASSES[norm](0.1, mask=torch.tensor([False, True, True])).around(x, (0.0, 1.0))
    moved = region.project(x + 0.1 * region.steepest(gradient, x))
    gained = float(((moved - x) * gradient).sum())
    assert gained == pytest.approx(0.1 * {"linf": 7, "l2": 5, "l1": 4}[norm], rel=1e-5)


@ALL
def test_no_radius_is_the_whole_box(norm: str) -> None:
    x, far = torch.rand(3, 5), 4 * torch.randn(3, 5)
    region = CLASSES[norm]().around(x, (0.0, 1.0))
    assert torch.equal(region.project(far), far.clamp(0, 1))
    assert bool(region.contains(far.clamp(0, 1)).all())


def test_l0_counts_a_pixel_once_however_many_channels_change() -> None:
    x = torch.zeros(1, 3, 2, 2)
    changed = x.clone()
    changed[0, :, 0, 1] = torch.tensor([0.1, 0.2, 0.3])
    changed[0, 1, 1, 1] = 1e-30
    assert sp.L0(2).around(x, (0.0, 1.0)).distance(changed).tolist() == [2]
    assert sp.L0(2).around(x.flatten(1), (0.0, 1.0)).distance(changed.flatten(1)).tolist() == [4]


def test_l0_projection_keeps_every_channel_of_a_pixel_it_keeps() -> None:
    wish = torch.zeros(1, 3, 2, 2)
    wish[0, :, 0, 0] = torch.tensor([0.6, 0.6, 0.6])  # 1.08 to give up, more than the single largest change:
    wish[0, 0, 1, 1] = 0.9  # 0.81
    kept = sp.L0(1).around(torch.zeros_like(wish), (0.0, 1.0)).project(wish)
    assert torch.equal(kept[0, :, 0, 0], wish[0, :, 0, 0])
    assert float(kept[0, 0, 1, 1]) == 0


@pytest.mark.parametrize("eps", [-1, float("nan"), torch.tensor([0.1, -0.1]), torch.ones(2, 2)])
@ALL
def test_a_radius_that_is_none_is_refused_with_its_value(norm: str, eps: Any) -> None:
    with pytest.raises(sp.InputError, match=rf"(?s){CLASSES[norm].__name__} has radius .*at least 0"):
        CLASSES[norm](eps)


@ALL
def test_radii_must_be_one_or_one_an_example(norm: str) -> None:
    with pytest.raises(sp.InputError, match="2 radii for 3 examples"):
        CLASSES[norm](torch.tensor([1.0, 2.0])).around(torch.rand(3, 4), (0.0, 1.0))


def test_pixels_come_whole() -> None:
    with pytest.raises(sp.InputError, match=r"radius 1\.5; give a whole number"):
        sp.L0(1.5)


@ALL
def test_a_mask_that_does_not_fit_is_refused(norm: str) -> None:
    with pytest.raises(sp.InputError, match=r"mask has shape \(3,\).*\(2, 4\)"):
        CLASSES[norm](1, mask=torch.ones(3)).around(torch.rand(2, 4), (0.0, 1.0))


@pytest.mark.parametrize(
    ("text", "threat"),
    [
        ("linf:8/255", sp.Linf(8 / 255)),
        ("L2:0.5", sp.L2(0.5)),
        ("l1:1e1", sp.L1(10.0)),
        (" l0 : 10", sp.L0(10.0)),
        ("l2", sp.L2()),
    ],
)
def test_a_threat_is_parsed_as_on_the_command_line(text: str, threat: Norm) -> None:
    assert parse(text) == threat


@pytest.mark.parametrize("text", ["l3:1", "", "linf:x", "l2:1/0", "l2:1/2/3", "l0:0.5", "l2:-1", "l1:nan"])
def test_what_is_no_threat_is_refused(text: str) -> None:
    with pytest.raises(sp.InputError, match=r"threat|radius"):
        parse(text)


def test_an_l0_step_is_ten_times_as_long_as_the_range_is_wide() -> None:
    """So that all but the faintest coordinates come to its end."""
    x = torch.full((2, 3), 0.5)
    assert sp.L0(1).around(x, (-1.0, 3.0)).reach.tolist() == [40.0, 40.0]
    assert sp.L0(1).around(x, (-INF, INF)).reach.tolist() == [10.0, 10.0]

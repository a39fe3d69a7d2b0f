"""The laws that every registered attack keeps under every threat it has a form for.

A new attack needs nothing here: `quick` finds it in the registry.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

import sparring as sp
from models import Counting, OneByOne, linear, relu
from quick import ATTACKS, FORMS, NO_FORMS, NORMS, quick
from reference import distances, double

EPS: dict[str, float] = {"linf": 0.06, "l2": 0.25, "l1": 0.8, "l0": 1}
PAIRS = pytest.mark.parametrize(("name", "norm"), FORMS)
SETTINGS = pytest.mark.parametrize("setting", ["images in [0, 1]", "flat in [-2, 3]"])
SEEDS = pytest.mark.parametrize("seed", range(3))


def network(setting: str) -> sp.Model:
    """A small network that treats every row alone, so that what it says of a point never depends on a batch."""
    if setting.startswith("images"):
        return sp.Model(OneByOne(relu(18, 4, seed=4, width=32)))
    return sp.Model(OneByOne(relu(12, 3, seed=2, width=32)), bounds=(-2.0, 3.0))


def question(setting: str, seed: int, rows: int = 9) -> tuple[Tensor, Tensor]:
    """Inputs, some at the very edge of the range, with the model's own labels but for a wrong one at the end."""
    shape = (rows, 2, 3, 3) if setting.startswith("images") else (rows, 12)
    x = (1.4 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 0.2).clamp(0, 1)
    model = network(setting)
    low, high = model.bounds
    x = low + (high - low) * x
    y = model(x).argmax(1)
    y[-1] = (y[-1] + 1) % int(model(x).shape[1])
    return x, y


def radius(setting: str, norm: str) -> float:
    low, high = network(setting).bounds
    return EPS[norm] * (1 if norm == "l0" else high - low)


@cache
def outcome(name: str, norm: str, setting: str, seed: int) -> sp.Outcome:
    x, y = question(setting, seed)
    return quick(name)(network(setting), x, y, NORMS[norm](radius(setting, norm)), seed=seed)


@pytest.mark.parametrize("norm", NORMS)
@SETTINGS
def test_the_question_is_neither_trivial_nor_hopeless(norm: str, setting: str) -> None:
    share = torch.cat([outcome("pgd", norm, setting, seed).success[:-1] for seed in range(3)]).float().mean()
    assert 0.1 < float(share) < 0.9


@PAIRS
@SETTINGS
@SEEDS
def test_points_lie_inside_ball_and_box(name: str, norm: str, setting: str, seed: int) -> None:
    x, _ = question(setting, seed)
    low, high = network(setting).bounds
    eps = radius(setting, norm)
    out = outcome(name, norm, setting, seed)
    assert out.x.shape == x.shape
    assert (distances(norm, out.x, x) <= eps + 1e-6 * max(1, eps, high - low)).all()
    assert (double(out.x) >= low).all()
    assert (double(out.x) <= high).all()


@PAIRS
@SETTINGS
@SEEDS
def test_success_is_what_a_fresh_forward_pass_says(name: str, norm: str, setting: str, seed: int) -> None:
    """So a failure is always a point that the model gets right."""
    _, y = question(setting, seed)
    out = outcome(name, norm, setting, seed)
    assert torch.equal(out.success, network(setting)(out.x).argmax(1) != y)


@PAIRS
@SETTINGS
@SEEDS
def test_distance_is_what_numpy_says(name: str, norm: str, setting: str, seed: int) -> None:
    x, _ = question(setting, seed)
    out = outcome(name, norm, setting, seed)
    np.testing.assert_allclose(double(out.distance), distances(norm, out.x, x), rtol=1e-6, atol=1e-6)


@PAIRS
@SETTINGS
@SEEDS
def test_an_example_already_wrong_comes_back_as_it_is(name: str, norm: str, setting: str, seed: int) -> None:
    x, _ = question(setting, seed)
    last = outcome(name, norm, setting, seed).take(torch.tensor([-1 % len(x)]))
    assert torch.equal(last.x, x[-1:])
    assert (last.success.item(), last.distance.item()) == (True, 0)
    assert (last.forwards.item(), last.backwards.item()) == (1, 0)


@pytest.mark.parametrize("name", [name for name, norm in FORMS if norm == "l0"])
@SETTINGS
@SEEDS
def test_untouched_pixels_are_bit_equal(name: str, setting: str, seed: int) -> None:
    x, _ = question(setting, seed)
    out = outcome(name, "l0", setting, seed)
    differ = out.x.numpy().view(np.int32) != x.numpy().view(np.int32)
    differ = (differ.any(axis=1) if x.ndim == 4 else differ).reshape(len(x), -1)
    assert differ.sum(1).tolist() == out.distance.int().tolist()


@PAIRS
def test_the_same_seed_gives_the_same_bits(name: str, norm: str) -> None:
    setting = "images in [0, 1]"
    x, y = question(setting, 0)
    again = quick(name)(network(setting), x, y, NORMS[norm](radius(setting, norm)), seed=0)
    first = outcome(name, norm, setting, 0)
    assert torch.equal(again.x, first.x)
    assert torch.equal(again.success, first.success)
    assert torch.equal(again.forwards, first.forwards)
    assert torch.equal(again.backwards, first.backwards)


@PAIRS
def test_neither_batch_size_nor_order_changes_a_row(name: str, norm: str) -> None:
    setting = "images in [0, 1]"
    x, y = question(setting, 5, rows=8)
    index, model = torch.arange(8) * 37 + 2**33, network(setting)
    threat, attack = NORMS[norm](radius(setting, norm)), quick(name)
    whole = replace(attack, batch_size=64)(model, x, y, threat, index=index)
    for size in (1, 7, 64):
        order = torch.randperm(8, generator=torch.Generator().manual_seed(size))
        part = replace(attack, batch_size=size)(model, x[order], y[order], threat, index=index[order])
        assert torch.equal(part.success, whole.success[order])
        assert torch.equal(part.forwards, whole.forwards[order])
        assert torch.equal(part.backwards, whole.backwards[order])
        torch.testing.assert_close(part.x, whole.x[order], rtol=0, atol=1e-5)


@PAIRS
def test_passes_are_counted_as_the_network_saw_them(name: str, norm: str) -> None:
    x, y = question("images in [0, 1]", 1)
    x[:, 0, 0, 0] = torch.arange(len(x)) / len(x)  # who it is, held still by the mask
    mask = torch.ones(3, 3, dtype=torch.bool)
    mask[0, 0] = False
    net = network("images in [0, 1]")
    y = net(x).argmax(1)
    y[4] = (y[4] + 1) % 4
    counting = Counting(net, len(x))
    out = quick(name)(counting, x, y, NORMS[norm](EPS[norm], mask=mask))
    assert torch.equal(out.forwards, counting.forwards)
    assert torch.equal(out.backwards, counting.backwards)


@PAIRS
def test_a_targeted_success_says_the_target_and_nothing_else_counts(name: str, norm: str) -> None:
    setting = "images in [0, 1]"
    x, _ = question(setting, 2)
    model = network(setting)
    said = model(x).argmax(1)
    targets = (said + torch.tensor([0, 1, 2, 3, 1, 2, 3, 1, 2])) % 4
    out = quick(name)(model, x, None, NORMS[norm](4 * EPS[norm]), targets=targets)
    assert torch.equal(out.success, model(out.x).argmax(1) == targets)
    assert torch.equal(out.x[0], x[0])  # already there
    assert (out.success[0].item(), out.distance[0].item()) == (True, 0)


@PAIRS
def test_a_target_just_across_the_boundary_is_reached(name: str, norm: str) -> None:
    """Of three linear classes the third is far behind; points at a known distance, and half again that radius."""
    net = linear(10, 3, seed=6)
    slope = (net[1].weight[1] - net[1].weight[0]).detach()
    with torch.no_grad():
        net[1].bias.copy_(torch.tensor([0.0, -float(slope.sum()) / 2, -50.0]))
        net[1].weight[0] = 0
        net[1].weight[1] = slope
    x = 0.4 + 0.2 * torch.rand(6, 10, generator=torch.Generator().manual_seed(0))
    # Slide along the slope until class 1 trails class 0 by 0.01.
    x = x - (net(x)[:, 1:2] - net(x)[:, :1] + 0.01).detach() * slope / (slope * slope).sum()
    dual = {"linf": slope.abs().sum(), "l2": slope.norm(), "l1": slope.abs().amax()}
    eps = 1.0 if norm == "l0" else 1.5 * 0.01 / float(dual[norm])
    out = quick(name)(net, x, None, NORMS[norm](eps), targets=torch.ones(6, dtype=torch.int64))
    assert bool(out.success.all())
    assert bool((out.distance > 0).all())


@PAIRS
def test_every_example_has_its_own_radius(name: str, norm: str) -> None:
    setting = "images in [0, 1]"
    x, y = question(setting, 0)
    eps = torch.tensor([0.0, EPS[norm]] * 5)[: len(x)]
    out = quick(name)(network(setting), x, y, NORMS[norm](eps), seed=0)
    alone = quick(name)(network(setting), x[1::2], y[1::2], NORMS[norm](EPS[norm]), index=torch.arange(len(x))[1::2])
    assert torch.equal(out.x[0:-1:2], x[0:-1:2])
    assert not out.success[0:-1:2].any()
    assert torch.equal(out.success[1::2], alone.success)
    torch.testing.assert_close(out.x[1::2], alone.x, rtol=0, atol=1e-5)


@PAIRS
@pytest.mark.parametrize("rows", [0, 1])
def test_none_and_one_are_batches_too(name: str, norm: str, rows: int) -> None:
    setting = "images in [0, 1]"
    x, y = question(setting, 0)
    out = quick(name)(network(setting), x[:rows], y[:rows], NORMS[norm](radius(setting, norm)), seed=0)
    first = outcome(name, norm, setting, 0).take(torch.arange(rows))
    assert out.x.shape == (rows, 2, 3, 3)
    assert torch.equal(out.success, first.success)
    assert torch.equal(out.forwards, first.forwards)
    torch.testing.assert_close(out.x, first.x, rtol=0, atol=1e-5)


@PAIRS
def test_a_mask_holds_the_rest_bit_for_bit(name: str, norm: str) -> None:
    setting = "images in [0, 1]"
    x, y = question(setting, 3)
    mask = torch.tensor([[True, True, False], [False, True, True], [True, False, True]])
    out = quick(name)(network(setting), x, y, NORMS[norm](4 * EPS[norm], mask=mask))
    assert torch.equal(out.x[..., ~mask], x[..., ~mask])
    assert (out.x != x).any()


@PAIRS
def test_without_a_radius_a_minimal_attack_finds_something_no_farther_than_with_one(name: str, norm: str) -> None:
    attack = quick(name)
    if not attack.minimal:
        with pytest.raises(sp.InputError, match="needs a radius"):
            attack.check(NORMS[norm]())
        return
    setting = "images in [0, 1]"
    x, y = question(setting, 0)
    nearest = attack(network(setting), x, y, NORMS[norm](), seed=0)
    inside = outcome(name, norm, setting, 0)
    assert bool((nearest.success | ~inside.success).all())
    both = nearest.success & inside.success
    assert bool((nearest.distance[both] <= inside.distance[both] * 1.001).all())


@pytest.mark.parametrize(("name", "norm"), NO_FORMS)
def test_an_attack_without_a_form_refuses_and_says_what_it_knows(name: str, norm: str) -> None:
    x, y = question("images in [0, 1]", 0)
    with pytest.raises(sp.InputError, match=rf"{type(quick(name)).__name__} has no form for {NORMS[norm].__name__}"):
        quick(name)(network("images in [0, 1]"), x, y, NORMS[norm](1))


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_a_frozen_value_whose_repr_is_its_provenance(name: str) -> None:
    entry = sp.attacks.available()[name]
    attack = entry() if isinstance(entry, type) else entry
    assert eval(repr(attack), {type(attack).__name__: type(attack)}) == attack
    assert hash(attack) == hash(replace(attack))
    with pytest.raises(AttributeError):
        attack.batch_size = 3  # type: ignore[misc]

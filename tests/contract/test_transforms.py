"""Laws that every registered transform keeps. A new transform is one registry line, and is tested here."""

from __future__ import annotations

import copy
import pickle
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from models import OneByOne, seeded
from sparring.defenses import MeanSparse, Thermometer, Transform, available, transforms
from sparring.draws import Draws
from sparring.named import settable
from sparring.randomness import looking

ROWS, CLASSES = 9, 3
BOUNDS = (-2.0, 3.0)
X = BOUNDS[0] + 5 * torch.rand(ROWS, 1, 8, 8, generator=torch.Generator().manual_seed(0))
THREAT = sp.Linf(0.4)
EVERY = pytest.mark.parametrize("name", transforms())


def made(name: str) -> Transform:
    """The transform with its defaults, and with what it cannot do without."""
    kind = transforms()[name]
    return kind(X) if kind is MeanSparse else kind()


def network(transform: Transform) -> nn.Module:
    """A small network for what the transform makes of images, whose rows never depend on their batch."""
    channels = transform.levels if isinstance(transform, Thermometer) else 1
    layers = nn.Conv2d, nn.ReLU, nn.Flatten, nn.Linear
    return seeded(
        lambda: OneByOne(nn.Sequential(layers[0](channels, 4, 3), layers[1](), layers[2](), layers[3](144, CLASSES))), 3
    )


def wrapped(name: str, **changes: Any) -> sp.Model:
    transform = made(name)
    return transform(sp.Model(network(transform), BOUNDS, **changes))


def first_look(at: Tensor | None = None) -> AbstractContextManager[None]:
    """Inside, the rows `at` are looked at for the first time."""
    index = torch.arange(ROWS) if at is None else at
    return looking(Draws(0), index, index, torch.zeros(ROWS).long())


def said(model: sp.Model, x: Tensor) -> Tensor:
    """Logits as an attack sees them: surrogates in place, gradients on, every row's draws its own."""
    with model.quiet(), torch.enable_grad(), first_look():
        return model(x.clone().requires_grad_(True)).detach()


def labels(model: sp.Model) -> Tensor:
    return said(model, X).argmax(1)


def test_transforms_are_a_registry_of_their_own() -> None:
    transforms().clear()
    assert set(transforms()) >= {"quantize", "jpeg"}
    assert not set(transforms()) & set(available())
    assert all(getattr(sp.defenses, kind.__name__) is kind for kind in transforms().values())


@EVERY
def test_is_a_frozen_value_that_says_what_it_promises_and_what_breaks_it(name: str) -> None:
    transform = made(name)
    assert transform == made(name) == replace(transform) == pickle.loads(pickle.dumps(transform))
    assert hash(transform) == hash(made(name))
    assert " at 0x" not in repr(transform)
    for text in (transform.promise, transform.broken_by, type(transform).__doc__ or ""):
        assert text
        assert "\n" not in transform.promise + transform.broken_by
    assert "It promises" in " ".join((type(transform).__doc__ or "").split())


@EVERY
@pytest.mark.parametrize("wrong", [-1, "many", float("nan")], ids=repr)
def test_a_parameter_that_makes_no_sense_is_told_by_name(name: str, wrong: object) -> None:
    transform = made(name)
    for parameter in settable(type(transform)):
        with pytest.raises(sp.InputError, match=rf"{type(transform).__name__} has {parameter}=.*; give "):
            replace(transform, **{parameter: wrong})


@EVERY
def test_a_module_becomes_a_model_from_inputs_to_logits(name: str) -> None:
    transform = made(name)
    model = transform(network(transform))
    assert type(model) is sp.Model
    assert model.bounds == (0.0, 1.0)
    logits = model((X + 2) / 5)
    assert logits.shape == (ROWS, CLASSES)
    assert bool(logits.isfinite().all())
    assert transform.__class__.__name__ in repr(model)


@EVERY
def test_a_model_keeps_its_bounds_and_how_it_is_looked_at(name: str) -> None:
    transform = made(name)
    given = sp.Model(network(transform), BOUNDS, mean=0.5, std=2.0, mode="as-is", eot=3, bpda={"net.1": "identity"})
    model = transform(given)
    assert (model.bounds, model.mode, model.eot) == (BOUNDS, "as-is", 3)
    if transform.within(given) is given:
        assert list(model.bpda) == ["inner.net.net.1"]
    assert model(X).shape == (ROWS, CLASSES)


@EVERY
def test_the_range_of_the_inputs_makes_no_difference(name: str) -> None:
    """The same defense on the same network, whose inputs are scaled and moved."""
    transform = made(name)
    kept = transform.before(BOUNDS), transform.before((0.0, 1.0))
    if kept[0] is None or kept[1] is None or isinstance(transform, Thermometer):
        return
    unit = (X + 2) / 5
    with first_look():
        wide = kept[0](X)
    with first_look():
        narrow = kept[1](unit)
    torch.testing.assert_close((wide + 2) / 5, narrow, rtol=0, atol=1e-5)


@EVERY
def test_the_network_given_is_left_as_it_was(name: str) -> None:
    transform = made(name)
    net = network(transform).train()
    fired: list[int] = []
    net.net[0].register_forward_hook(lambda module, inputs, output: fired.append(len(output)))
    shown = X if not isinstance(transform, Thermometer) else X.repeat(1, transform.levels, 1, 1)
    before, weights, hooks = net(shown), copy.deepcopy(net.state_dict()), len(net.net[0]._forward_hooks)
    model = transform(sp.Model(net, BOUNDS))
    sp.PGD(steps=2, objective="margin")(model.adaptive(eot=2), X, labels(model), THREAT)
    assert torch.equal(net(shown), before)
    assert all(torch.equal(value, weights[key]) for key, value in net.state_dict().items())
    assert all(module.training and not module._forward_pre_hooks for module in net.modules())
    assert len(net.net[0]._forward_hooks) == hooks
    assert [type(module).__name__ for module in net.net] == ["Conv2d", "ReLU", "Flatten", "Linear"]
    assert all(weight.requires_grad and weight.grad is None for weight in net.parameters())


@EVERY
def test_a_row_is_the_same_in_any_batch_and_order(name: str) -> None:
    model = wrapped(name)
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), first_look():
        whole = model(X)
    parts = []
    for at in order.split(4):
        with torch.no_grad(), first_look(at):
            parts.append(model(X[at]))
    assert torch.equal(torch.cat(parts), whole[order])


@EVERY
def test_an_attack_on_it_does_not_depend_on_the_batch(name: str) -> None:
    model = wrapped(name).adaptive(eot=4)
    y = labels(model)
    outs = [sp.PGD(steps=3, objective="margin", batch_size=size)(model, X, y, THREAT) for size in (1, 7, 64)]
    for out in outs[:2]:
        assert torch.equal(out.x, outs[2].x)
        assert torch.equal(out.success, outs[2].success)


@EVERY
def test_it_draws_where_it_says_so_and_only_there(name: str) -> None:
    model = wrapped(name)
    assert torch.equal(model(X), model(X)) == (not made(name).random)
    assert model.adaptive(eot=5).eot == (5 if made(name).random else 1)


@EVERY
def test_the_adaptive_view_says_the_same_and_has_a_gradient_everywhere(name: str) -> None:
    model = wrapped(name)
    adaptive = model.adaptive(eot=1)
    torch.testing.assert_close(said(adaptive, X), said(model, X), rtol=1e-5, atol=1e-6)
    out = sp.PGD(steps=3, objective="margin")(adaptive, X, labels(model), THREAT)
    assert not bool(out.zero_gradients.any())


@EVERY
def test_the_adaptive_view_is_never_the_weaker_one(name: str) -> None:
    model, draws = wrapped(name), 8 if made(name).random else 1  # as many for both: one draw errs by luck
    y = labels(model)
    adaptive = sp.PGD(steps=10, objective="margin", n_targets=2)(model.adaptive(eot=draws), X, y, THREAT)
    try:
        naive = int(sp.PGD(steps=10)(model.seen_by(eot=draws), X, y, THREAT).success.sum())
    except sp.ModelError:  # no gradient
        naive = 0
    assert int(adaptive.success.sum()) >= naive - 1
    assert int(adaptive.success.sum()) >= 1


@EVERY
def test_what_is_wrapped_can_be_wrapped_again_copied_and_kept(name: str) -> None:
    inner = wrapped(name)
    model = sp.defenses.Quantize(6)(inner)
    assert model.bounds == BOUNDS
    assert set(model.adaptive().bpda) == {"before"} | {f"inner.net.{key}" for key in inner.adaptive().bpda}
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(said(twin, X), said(model, X))

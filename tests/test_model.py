"""Model: logits from whatever a network returns, preprocessing, flags left as found, and clear refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from models import FORMS, InPlace, Then, linear, mixed, relu

X = torch.rand(5, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("form", FORMS)
def test_logits_come_out_of_every_form(form: str) -> None:
    net = linear(8, 3)
    assert torch.equal(sp.Model(Then(net, FORMS[form]))(X), net(X))


@pytest.mark.parametrize("shape", [(5, 1), (5,)])
def test_one_logit_is_two_classes_with_p_of_class_1_its_sigmoid(shape: tuple[int, ...]) -> None:
    net = linear(8, 1)
    logits = sp.Model(Then(net, lambda z: z.reshape(shape)))(X)
    torch.testing.assert_close(logits.softmax(1)[:, 1], net(X).squeeze(1).sigmoid())


def test_a_plain_function_is_a_network() -> None:
    weight = torch.randn(8, 3)
    assert torch.equal(sp.Model(lambda x: x @ weight)(X), X @ weight)


def test_it_is_a_module_that_knows_its_network() -> None:
    net = linear(8, 3)
    model = sp.Model(net)
    assert isinstance(model, nn.Module)
    assert list(model.parameters()) == list(net.parameters())
    assert sp.Model.of(model) is model
    assert sp.Model.of(net).net is net
    assert (sp.Model.of(net).bounds, model.bounds) == ((0.0, 1.0), (0.0, 1.0))


@pytest.mark.parametrize(("mean", "std"), [(0.3, 0.5), ([0.1, 0.2, 0.3], [0.5, 1.0, 2.0]), (0.3, None), (None, [2.0])])
def test_inputs_are_normalised_channel_by_channel(mean: Any, std: Any) -> None:
    x, net = torch.rand(4, 3, 2, 2), relu(12, 3)
    shift = torch.as_tensor(0.0 if mean is None else mean).reshape(1, -1, 1, 1)
    scale = torch.as_tensor(1.0 if std is None else std).reshape(1, -1, 1, 1)
    torch.testing.assert_close(sp.Model(net, mean=mean, std=std)(x), net((x - shift) / scale))


def test_gradients_reach_the_input_through_the_normalisation() -> None:
    net, at = linear(8, 2), X.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(sp.Model(net, mean=0.5, std=0.25)(at)[:, 0].sum(), at)
    torch.testing.assert_close(gradient, 4 * net[1].weight[0].expand(5, 8))


def flags(net: nn.Module) -> list[bool]:
    return [module.training for module in net.modules()]


def test_a_direct_call_runs_in_evaluation_mode_and_restores_mixed_flags() -> None:
    net = mixed(8, 3)
    before, running = flags(net), net[2].running_mean.clone()
    net[2].train()
    first = sp.Model(net)(X)
    assert torch.equal(first, sp.Model(net)(X))  # no dropout
    assert torch.equal(net[2].running_mean, running)  # no batch statistics
    net[2].eval()
    assert flags(net) == before
    assert torch.equal(first, net.eval()(X))


def test_flags_are_restored_after_the_network_raised() -> None:
    net = Then(mixed(8, 3), lambda z: 1 / 0)
    before = flags(net)
    with pytest.raises(ZeroDivisionError):
        sp.Model(net)(X)
    assert flags(net) == before


def test_quiet_freezes_weights_and_flags_inside_and_gives_both_back_after_an_error() -> None:
    net = mixed(8, 3)
    model = sp.Model(net)
    before = flags(net), [p.requires_grad for p in net.parameters()]

    def inside() -> None:
        with model.quiet():
            assert not any(flags(net))
            assert not any(p.requires_grad for p in net.parameters())
            with model.quiet():
                model(X)
            assert not any(flags(net))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        inside()
    assert (flags(net), [p.requires_grad for p in net.parameters()]) == before


def test_as_is_leaves_the_mode_alone() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Dropout(), linear(8, 3)).train()
    model = sp.Model(net, mode="as-is")
    torch.manual_seed(0)
    called = model(X)
    torch.manual_seed(0)
    assert torch.equal(called, net(X))
    assert not torch.equal(called, net.eval()(X))


def test_the_input_is_cast_to_the_weights_and_the_gradient_comes_back_in_its_own_type() -> None:
    at = X.clone().requires_grad_(True)
    logits = sp.Model(linear(8, 3).double())(at)
    (gradient,) = torch.autograd.grad(logits.sum(), at)
    assert (logits.dtype, gradient.dtype) == (torch.float64, torch.float32)


def test_half_precision_logits_come_back_in_single() -> None:
    assert sp.Model(linear(8, 3).bfloat16())(X).dtype == torch.float32


def test_a_network_that_works_in_place_leaves_the_callers_input_alone() -> None:
    x = X.clone()
    net = linear(8, 3)
    torch.testing.assert_close(sp.Model(InPlace(net))(x), net(2 * X - 1))
    assert torch.equal(x, X)


def test_bounds_and_normalisation_do_not_enter_the_state_of_the_network() -> None:
    net = linear(8, 3)
    state = sp.Model(net, mean=0.5, std=0.5).state_dict()
    assert list(state) == [f"net.{name}" for name in net.state_dict()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z: "logits", "returned a str"),
        (lambda z: None, "returned a NoneType"),
        (lambda z: z[:, 0, None, None], r"shape \(5, 1, 1\) for 5 inputs.*\(5, classes\)"),
        (lambda z: z[:3], r"shape \(3, 3\) for 5 inputs"),
        (lambda z: z.T, r"shape \(3, 5\) for 5 inputs"),
        (lambda z: z.argmax(1), r"int64 of shape"),
        (lambda z: z.sum(), r"shape \(\) for 5 inputs"),
    ],
)
def test_what_is_not_logits_is_refused_with_what_it_is(change: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(sp.ModelError, match=message):
        sp.Model(Then(linear(8, 3), change))(X)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bounds": (1.0, 0.0)}, r"bounds are \(1\.0, 0\.0\).*lowest and the highest"),
        ({"bounds": (0.0, float("nan"))}, r"bounds are \(0\.0, nan\)"),
        ({"std": 0.0}, r"std is .*0\.0.*above 0"),
        ({"std": [1.0, -2.0]}, r"std is \[1\.0, -2\.0\]"),
        ({"mode": "train"}, r"mode is 'train'; use \"eval\" or \"as-is\""),
    ],
)
def test_arguments_that_cannot_be_are_refused_with_value_and_remedy(arguments: Any, message: str) -> None:
    with pytest.raises(sp.InputError, match=message):
        sp.Model(linear(8, 3), **arguments)


def test_what_cannot_be_called_is_no_network() -> None:
    with pytest.raises(sp.InputError, match="net is a dict; pass"):
        sp.Model({})  # type: ignore[arg-type]


def test_a_normalisation_for_other_channels_is_refused() -> None:
    with pytest.raises(sp.InputError, match=r"3 entries for inputs \(5, 8\) with 8 channels"):
        sp.Model(linear(8, 3), mean=[0.1, 0.2, 0.3])(X)

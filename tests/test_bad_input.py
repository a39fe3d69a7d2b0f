"""Whatever comes in either works or gives one clear error that names the value and the remedy."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from models import Then, linear, relu
from quick import ATTACKS, FORMS, NO_FORMS, NORMS, quick

EVERY = pytest.mark.parametrize("name", ATTACKS)
BY_GRADIENT = pytest.mark.parametrize("name", [name for name in ATTACKS if quick(name).gradients])
INF, NAN = float("inf"), float("nan")


def question(net: nn.Module, *shape: int) -> tuple[Tensor, Tensor]:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    return x, sp.Model(net)(x).argmax(1)


def threat(name: str, radius: float | Tensor = 0.01) -> Any:
    """The first threat the attack knows."""
    norm = next(norm for attack, norm in FORMS if attack == name)
    return NORMS[norm](radius if norm != "l0" else 1)


def spoil(value: float, row: int) -> Any:
    """Logits with `value` somewhere in one row."""
    return lambda z: torch.where(torch.arange(len(z))[:, None] == min(row, len(z) - 1), value, z)


@EVERY
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("after", [0, 1])
def test_logits_that_are_not_finite_are_an_error_that_names_the_example(name: str, value: float, after: int) -> None:
    """After 1: the clean look is fine, and the attack runs into it on its way."""
    net = relu(8, 3)
    x, y = question(net, 6, 8)
    with pytest.raises(sp.ModelError, match=rf"logits of example 12 is {value}.*float32"):
        quick(name)(Then(net, spoil(value, 2), after), x, y, threat(name), index=torch.arange(10, 16))


@BY_GRADIENT
def test_a_gradient_that_is_not_finite_is_an_error(name: str) -> None:
    class Root(nn.Module):
        """Finite logits whose slope at 0 is infinite."""

        def forward(self, x: Tensor) -> Tensor:
            root = (x - x.detach()).sum(1).sqrt()
            return torch.stack([root, root + 1, -root], dim=1)

    with pytest.raises(sp.ModelError, match=r"input gradient of example 0 is (nan|-?inf)"):
        quick(name)(Root(), torch.rand(3, 8), torch.ones(3, dtype=torch.int64), threat(name))


@EVERY
@pytest.mark.parametrize("value", [-0.01, 1.01, NAN, INF])
def test_inputs_outside_the_bounds_are_refused_with_place_and_value(name: str, value: float) -> None:
    net = relu(8, 3)
    x, y = question(net, 6, 8)
    x[3, 5] = value
    told = re.escape(str(float(x[3, 5])))
    with pytest.raises(sp.InputError, match=rf"x\[3, 5\] is {told}, outside the bounds \(0, 1\); rescale"):
        quick(name)(net, x, y, threat(name))


X = torch.rand(4, 8, generator=torch.Generator().manual_seed(0))
Y = torch.zeros(4, dtype=torch.int64)


@EVERY
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, Y[:3], r"y has shape \(3,\) for 4 examples; it must be \(4,\)"),
        (X, Y[:, None], r"y has shape \(4, 1\)"),
        (X, Y.float(), r"y is torch.float32.*y.long\(\)"),
        (X, Y == 0, r"y is torch.bool"),
        (X, None, r"y is None; pass one class an example"),
        (X, Y + 3, r"y\D+.* 3\b.*3 classes \(0 to 2\)"),
        (X, Y - 1, r"y\D+.*-1\b.*3 classes \(0 to 2\)"),
        (X[0], Y[:1], r"x has shape \(8,\); the first axis must be the example: use x\[None\]"),
        ((X * 255).byte(), Y, r"x is torch.uint8; scale it .*/ 255"),
        (X.numpy(), Y, r"x is a ndarray; pass a torch tensor"),
    ],
)
def test_x_and_y_that_do_not_fit_are_refused(name: str, x: Any, y: Any, message: str) -> None:
    with pytest.raises(sp.InputError, match=message):
        quick(name)(relu(8, 3), x, y, threat(name))


@EVERY
def test_targets_and_index_are_checked_like_labels(name: str) -> None:
    attack, net = quick(name), relu(8, 3)
    with pytest.raises(sp.InputError, match=r"targets\D+.*5\b.*3 classes \(0 to 2\)"):
        attack(net, X, Y, threat(name), targets=Y + 5)
    with pytest.raises(sp.InputError, match=r"targets has shape \(2,\) for 4 examples"):
        attack(net, X, Y, threat(name), targets=Y[:2])
    with pytest.raises(sp.InputError, match=r"index has shape \(2,\) for 4 examples"):
        attack(net, X, Y, threat(name), index=Y[:2])


@EVERY
def test_labels_are_checked_where_the_model_is_never_fooled_too(name: str) -> None:
    with pytest.raises(sp.InputError, match=r"y\b.* 9\b.* 2\b.*3 classes"):
        quick(name)(relu(8, 3), X, torch.tensor([0, 1, 9, 1]), threat(name))


@pytest.mark.parametrize(("name", "norm"), NO_FORMS)
def test_an_attack_without_a_form_for_the_threat_says_which_it_knows(name: str, norm: str) -> None:
    known = ", ".join(sorted(norm for attack, norm in FORMS if attack == name))
    with pytest.raises(sp.InputError, match=rf"has no form for {NORMS[norm].__name__}\b.*; it knows {known}"):
        quick(name)(relu(8, 3), X, Y, NORMS[norm](1))


@pytest.mark.parametrize(("name", "norm"), [pair for pair in FORMS if not quick(pair[0]).minimal])
def test_a_fixed_budget_attack_asks_for_a_radius(name: str, norm: str) -> None:
    with pytest.raises(sp.InputError, match=rf"needs a radius.*{NORMS[norm].__name__}\("):
        quick(name)(relu(8, 3), X, Y, NORMS[norm]())


@pytest.mark.parametrize(("name", "norm"), [pair for pair in FORMS if not quick(pair[0]).minimal])
def test_an_infinite_radius_is_refused_like_none(name: str, norm: str) -> None:
    net = relu(8, 3)
    with pytest.raises(sp.InputError, match="radius"):
        quick(name)(net, X, net(X).argmax(1), NORMS[norm](INF))


@EVERY
def test_a_radius_that_is_no_threat_is_refused(name: str) -> None:
    with pytest.raises(sp.InputError, match=r"threat is 0\.03; pass one such as sp\.Linf\(8/255\)"):
        quick(name)(relu(8, 3), X, Y, 0.03)  # type: ignore[arg-type]


@EVERY
@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_size_below_one_is_refused(name: str, size: int) -> None:
    with pytest.raises(sp.InputError, match=rf"batch_size\D+{size}; give .*at least 1"):
        replace(quick(name), batch_size=size)(relu(8, 3), X, Y, threat(name))


@BY_GRADIENT
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z: z.detach(), "do not depend differentiably on the input"),
        (lambda z: torch.from_numpy(z.detach().numpy()), "do not depend differentiably on the input"),
        (lambda z: torch.zeros_like(z).requires_grad_(True), "do not depend on the input"),
    ],
)
def test_a_network_without_an_input_gradient_is_an_error_not_a_robust_model(
    name: str, change: Any, message: str
) -> None:
    net = Then(linear(8, 3), change)
    x, _ = question(net, 4, 8)
    with pytest.raises(sp.ModelError, match=message):
        quick(name)(net, x, sp.Model(net)(x).argmax(1), threat(name))


@BY_GRADIENT
def test_a_gradient_of_exact_zero_is_counted(name: str) -> None:
    net = Then(linear(8, 3), lambda z: z.round())
    x, y = question(net, 4, 8)
    out = quick(name)(net, x, y, threat(name))
    assert torch.equal(out.zero_gradients, out.backwards)
    assert bool((out.zero_gradients > 0).all())


@EVERY
@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyError("weights"), KeyboardInterrupt()])
def test_an_attack_that_fails_inside_never_reads_as_a_robust_model(name: str, error: BaseException) -> None:
    def fail(z: Tensor) -> Tensor:
        raise error

    net = relu(8, 3)
    x, y = question(net, 4, 8)
    with pytest.raises(type(error)):
        quick(name)(Then(net, fail, after=1), x, y, threat(name))


@EVERY
def test_an_empty_batch_is_an_empty_outcome(name: str) -> None:
    out = quick(name)(relu(8, 3), X[:0], Y[:0], threat(name))
    assert out.x.shape == (0, 8)
    for column in (out.success, out.distance, out.score, out.forwards, out.backwards, out.zero_gradients):
        assert column.shape == (0,)
    assert out.success.dtype == torch.bool


@EVERY
@pytest.mark.parametrize("classes", [2, 1000])
def test_two_classes_and_a_thousand_are_attacked_alike(name: str, classes: int) -> None:
    net = linear(8, classes)
    x, y = question(net, 4, 8)
    out = quick(name)(net, x, y, threat(name, 2.0))
    assert torch.equal(out.success, net(out.x).argmax(1) != y)
    assert out.success.any()


@EVERY
def test_one_logit_is_attacked_as_two_classes(name: str) -> None:
    net = linear(8, 1)
    x, y = question(net, 6, 8)
    out = quick(name)(net, x, y, threat(name, 2.0))
    assert torch.equal(out.success, (net(out.x).squeeze(1) > 0).long() != y)
    assert out.success.any()


@EVERY
def test_probabilities_are_attacked_on_their_logarithm(name: str) -> None:
    net = relu(8, 3)
    x, y = question(net, 6, 8)
    logits = quick(name)(Then(net, lambda z: z.log_softmax(1)), x, y, threat(name, 0.1))
    probabilities = quick(name)(Then(net, lambda z: z.softmax(1)), x, y, threat(name, 0.1))
    assert torch.equal(probabilities.success, logits.success)
    torch.testing.assert_close(probabilities.x, logits.x, atol=1e-4, rtol=0)


@EVERY
def test_double_precision_stays_double(name: str) -> None:
    net = relu(8, 3).double()
    x, y = question(net, 6, 8)
    out = quick(name)(net, x.double(), y, threat(name, 0.1))
    assert (out.x.dtype, out.distance.dtype) == (torch.float64, torch.float64)
    assert torch.equal(out.success, net(out.x).argmax(1) != y)


@EVERY
def test_a_network_in_double_precision_takes_inputs_in_single(name: str) -> None:
    net = relu(8, 3)
    x, y = question(net, 6, 8)
    out = quick(name)(net.double(), x, y, threat(name, 0.1))
    assert out.x.dtype == torch.float32
    assert torch.equal(out.success, net(out.x.double()).argmax(1) != y)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_are_attacked_in_single(name: str, dtype: torch.dtype) -> None:
    net = relu(8, 3)
    x = question(net, 6, 8)[0].to(dtype)
    y = net(x.float()).argmax(1)
    out = quick(name)(net, x, y, threat(name, 0.1))
    assert torch.equal(out.x, quick(name)(net, x.float(), y, threat(name, 0.1)).x)


@EVERY
@pytest.mark.parametrize("layout", ["channels_last", "transposed", "strided", "expanded"])
def test_the_layout_in_memory_changes_nothing(name: str, layout: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), linear(16, 3))
    x = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    if layout == "expanded":
        x = x[:1].repeat(5, 1, 1, 1)
    y = net(x).argmax(1)
    other = {
        "channels_last": lambda: x.contiguous(memory_format=torch.channels_last),
        "transposed": lambda: x.transpose(2, 3).contiguous().transpose(2, 3),
        "strided": lambda: torch.stack([x, x], dim=-1)[..., 0],
        "expanded": lambda: x[:1].expand(5, 3, 4, 4),
    }[layout]()
    assert torch.equal(other, x)
    plain, moved = (quick(name)(net, inputs, y, threat(name, 0.2)) for inputs in (x, other))
    assert torch.equal(moved.success, plain.success)
    torch.testing.assert_close(moved.x, plain.x, atol=1e-5, rtol=0)

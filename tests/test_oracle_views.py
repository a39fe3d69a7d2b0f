"""What stands between a network and an attack: BPDA, EOT, and gradients that come from elsewhere."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import Tensor, nn

import sparring as sp
from hiding import Before, InNumpy, Noise, Round, Times
from models import linear, relu
from reference import double, layer
from sparring.draws import Draws
from sparring.gradients import FiniteDifferences, Smoothed, Transfer
from sparring.objectives import cross_entropy, margin, margins
from sparring.oracle import Oracle
from sparring.problem import Problem, Seen, pose
from sparring.randomness import looking, normal, uniform
from sparring.substitution import Estimated

WIDE = (-9.0, 9.0)


def points(rows: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.rand(rows, *shape, generator=torch.Generator().manual_seed(seed))


def posed(x: Tensor, bounds: tuple[float, float] = (0.0, 1.0), seed: int = 0) -> Problem:
    return pose(x, torch.zeros(len(x), dtype=torch.int64), sp.Linf(0.1), bounds, seed=seed)


def asked(model: sp.Model, x: Tensor, objective: Any = margin, seed: int = 0) -> tuple[Seen, Oracle]:
    """One gradient."""
    oracle = Oracle(model, len(x), x.device)
    with model.quiet():
        return oracle.gradient(posed(x, model.bounds, seed), x, objective), oracle


def slope(net: nn.Module, x: Tensor) -> Tensor:
    """Of the first logit."""
    at = x.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(net(at)[:, 0].sum(), at)
    return found


def through(model: sp.Model, x: Tensor) -> Tensor:
    with model.quiet():
        return slope(model, x)


# --- BPDA -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("front", [Round(), InNumpy()], ids=["no slope", "no graph"])
def test_the_identity_gives_the_inner_networks_gradient_at_the_rounded_point(front: nn.Module) -> None:
    net, x = relu(8, 3), points(5, 8)
    model = sp.Model(Before(front, net), bpda={"pre": "identity"})
    assert torch.equal(through(model, x), slope(net, Round()(x)))


@pytest.mark.parametrize("surrogate", ["identity", "estimate", torch.sin])
def test_what_stands_in_backward_changes_no_bit_forward(surrogate: Any) -> None:
    net, x = Before(Round(), relu(8, 3)), points(5, 8)
    model, plain = sp.Model(net, bpda={"pre": surrogate}), net(x)
    with model.quiet():
        assert torch.equal(model(x.clone().requires_grad_(True)), plain)
        with torch.no_grad():
            assert torch.equal(model(x), plain)


def test_a_callable_stands_in_with_its_own_slope() -> None:
    x = points(5, 8)
    model = sp.Model(Before(Round(), linear(8, 2)), bpda={"pre": lambda x: x.square()})
    weight = model.net.net[1].weight[0]
    torch.testing.assert_close(through(model, x), weight * 2 * x)


def hooks(net: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in net.modules() for kind in kinds)


def test_hooks_are_removed_also_after_an_error() -> None:
    net, x = Before(Round(), relu(8, 3)), points(5, 8)
    net.pre.register_full_backward_hook(lambda module, given, above: None)
    before = hooks(net)
    sp.PGD(steps=2)(sp.Model(net, bpda={"pre": "identity"}), x, net(x).argmax(1), sp.Linf(0.1))
    assert hooks(net) == before == 1
    with pytest.raises(
        sp.ModelError, match=r"surrogate of 'net.1' turns \(5, 8\) into \(5, 8\), the layer into \(5, 24"
    ):
        through(sp.Model(net, bpda={"pre": "identity", "net.1": "identity"}), x)
    assert hooks(net) == before
    assert not bool(slope(net, x).any())


def test_a_layers_own_backward_hook_is_silent_while_something_stands_in_for_it() -> None:
    net, x = Before(Times(1.0), relu(8, 3)), points(5, 8)
    exact, fired = slope(net, x), []

    def noisy(module: nn.Module, given: tuple[Tensor, ...], above: Any) -> tuple[Tensor, ...]:
        fired.append(len(given))
        return (given[0] + 1,)

    net.pre.register_full_backward_hook(noisy)
    assert torch.equal(through(sp.Model(net, bpda={"pre": "identity"}), x), exact)
    assert not fired
    assert torch.equal(slope(net, x), exact + 1)
    assert fired == [1]


@pytest.mark.parametrize("samples", [16, 1024])
def test_an_estimate_approaches_a_linear_layers_slope_as_samples_grow(samples: int) -> None:
    """For directions of N(0, I) in d dimensions the squared error is (d + 1) / samples of the squared slope."""
    net, x = Before(linear(16, 5), linear(5, 2)), points(64, 16)
    exact = slope(net, x)
    found = through(sp.Model(net, bpda={"pre": Estimated(samples)}), x)
    error = float((found - exact).square().sum() / exact.square().sum())
    assert error == pytest.approx(17 / samples, rel=0.25)


def test_an_estimate_hands_a_layer_its_other_arguments_too() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = Mix()

        def forward(self, x: Tensor) -> Tensor:
            return self.mix(x, 2.0)[:, :2]

    class Mix(nn.Module):
        def forward(self, x: Tensor, factor: float) -> Tensor:
            return factor * x

    x = points(4, 6)
    found = through(sp.Model(Two(), bpda={"mix": Estimated(2000)}), x)
    torch.testing.assert_close(found, slope(Two(), x), rtol=0, atol=0.5)


def test_an_estimate_does_not_depend_on_the_batch_nor_on_the_thread_that_runs_backward() -> None:
    net, x = Before(linear(16, 5), linear(5, 2)), points(6, 16)
    model = sp.Model(net, bpda={"pre": "estimate"})
    whole, _ = asked(model, x)
    oracle, problem = Oracle(model, 6, x.device), posed(x)
    with model.quiet():
        parts = [oracle.gradient(problem.take(at), x[at], margin).gradient for at in torch.arange(6).split(2)]
    torch.testing.assert_close(torch.cat(parts), whole.gradient)

    def elsewhere(at: Tensor) -> Tensor:  # as an accelerator does
        found: list[Tensor] = []
        with looking(problem.draws, problem.index, problem.slot, torch.zeros(6, dtype=torch.int64)):
            score = model(at)[:, 0].sum()
            worker = threading.Thread(target=lambda: found.extend(torch.autograd.grad(score, at)))
            worker.start()
            worker.join()
        return found[0]

    with model.quiet():
        first, second = (elsewhere(x.clone().requires_grad_(True)) for _ in range(2))
    assert torch.equal(first, second)


def test_a_layer_called_twice_is_stood_in_for_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pre, self.net = Round(), linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(self.pre(3 * self.pre(x)))

    net = Twice()
    found = through(sp.Model(net, bpda={"pre": "identity"}), points(3, 8))
    torch.testing.assert_close(found, 3 * net.net[1].weight[0].expand(3, 8))


def test_of_two_views_of_one_network_the_inner_ones_surrogate_holds() -> None:
    net, x = Before(Round(), linear(8, 2)), points(3, 8)
    outer = sp.Model(net, bpda={"pre": "identity"})
    exact = net.net[1].weight[0].expand(3, 8)
    with outer.quiet():
        assert torch.equal(through(outer.seen_by(eot=2, bpda={"pre": lambda x: 2 * x}).seen_by(eot=1), x), 2 * exact)
        assert torch.equal(through(outer, x), exact)
        assert torch.equal(slope(outer, x), exact)
    assert hooks(net) == 0


@pytest.mark.parametrize(
    ("bpda", "message"),
    [
        ({"prr": "identity"}, r"bpda names 'prr', which is no submodule.*pre, net, net\.0, net\.1"),
        ({"pre": "identty"}, r"bpda has 'identty' for 'pre'; give"),
        ({"pre": 3}, r"bpda has 3 for 'pre'"),
    ],
)
def test_wrong_surrogates_are_named(bpda: dict[str, Any], message: str) -> None:
    with pytest.raises(sp.InputError, match=message):
        sp.Model(Before(Round(), linear(8, 2)), bpda=bpda)


def test_a_callable_has_no_submodules_to_name() -> None:
    with pytest.raises(sp.InputError, match=r"bpda names submodules, and net is a function"):
        sp.Model(lambda x: x, bpda={"pre": "identity"})


def test_a_layer_that_nothing_can_stand_in_for_is_named() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, int]:
            return x, 1

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair, self.late, self.net = Odd(), Round(), linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(self.late(x=self.pair(x)[0]))

    with pytest.raises(sp.ModelError, match=r"'pair', which returns a tuple"):
        through(sp.Model(Named(), bpda={"pair": "identity"}), points(3, 8))
    with pytest.raises(sp.ModelError, match=r"'late', which is not called with a tensor first"):
        through(sp.Model(Named(), bpda={"late": "identity"}), points(3, 8))


def test_an_adaptive_view_takes_what_the_stages_say() -> None:
    class Stage(Round):
        random = True

        def surrogate(self, x: Tensor) -> Tensor:
            return 5 * x

    model = sp.Model(Before(Stage(), linear(8, 2))).adaptive(eot=7)
    assert model.eot == 7
    torch.testing.assert_close(through(model.seen_by(eot=1), points(3, 8)), 5 * model.net.net[1].weight[0].expand(3, 8))
    assert sp.Model(linear(8, 2)).adaptive().eot == 1


# --- EOT ------------------------------------------------------------------------------------------------------------


def test_the_averaged_gradient_and_the_mean_probability_are_those_of_the_draws() -> None:
    noise, x = Noise(1.0), points(6, 8)
    net = linear(8, 3)
    model = sp.Model(Before(noise, net), bounds=WIDE, eot=5)
    seen, oracle = asked(model, x, cross_entropy)
    assert len(noise.drawn) == 5
    weight, bias = layer(net)
    logits = np.stack([(double(x) + double(drawn)) @ weight.T + bias for drawn in noise.drawn])
    logs = logits - logsumexp(logits, axis=2, keepdims=True)
    np.testing.assert_allclose(seen.logits.numpy(), logsumexp(logs, axis=0) - np.log(5), atol=1e-5)
    np.testing.assert_allclose(seen.score.numpy(), -logs[:, :, 0].mean(0), atol=1e-5)
    slopes = (np.exp(logs) - np.eye(3)[0]) @ weight
    np.testing.assert_allclose(seen.gradient.numpy(), slopes.mean(0), atol=1e-5)
    assert oracle.forwards.tolist() == oracle.backwards.tolist() == [5] * 6


def test_the_gradient_of_a_linear_margin_is_exact_under_any_noise() -> None:
    net = linear(8, 2)
    seen, _ = asked(sp.Model(Before(Noise(2.0), net), bounds=WIDE, eot=3), points(6, 8))
    weight, _ = layer(net)
    np.testing.assert_allclose(seen.gradient.numpy(), np.tile(weight[1] - weight[0], (6, 1)), atol=1e-6)


@pytest.mark.parametrize("attack", [sp.PGD(steps=3), sp.Square(queries=20)], ids=["pgd", "square"])
def test_every_draw_is_counted_and_none_is_used_twice(attack: Any) -> None:
    noise, x = Noise(), points(9, 8)
    net = Before(noise, relu(8, 3))
    model = sp.Model(net, eot=4)
    y = model(x).argmax(1)
    noise.drawn.clear()
    out = attack(model, x, y, sp.Linf(0.2))
    assert sum(map(len, noise.drawn)) == int(out.forwards.sum())
    assert bool((out.forwards % 4 == 0).all())
    assert bool((out.backwards % 4 == 0).all())
    every = torch.cat(noise.drawn)
    assert len(every.unique(dim=0)) == len(every)  # what confirms a success was not seen by the attack


@pytest.mark.parametrize(
    "attack",
    [sp.PGD(steps=4), sp.Square(queries=12), sp.HopSkipJump(steps=2, initial_evaluations=8, max_evaluations=16)],
    ids=lambda attack: type(attack).__name__,
)
def test_what_happens_to_a_row_depends_on_neither_batch_nor_order_and_on_the_seed(attack: Any) -> None:
    x = points(9, 8).double()
    net = relu(8, 2, seed=1).double()
    with torch.no_grad():
        net[3].bias -= net(x).mean(0)  # both classes are said
    model = sp.Model(Before(Noise(0.1), net), eot=2)
    y = net(x).argmax(1)
    # In double precision, where no rounding of another batch shape turns a decision.
    runs = [replace(attack, batch_size=size)(model, x, y, sp.Linf(0.3)) for size in (9, 2)]
    assert bool(runs[0].success.any())
    torch.testing.assert_close(runs[1].x, runs[0].x, rtol=0, atol=1e-9)
    assert torch.equal(runs[1].success, runs[0].success)
    assert torch.equal(runs[1].forwards, runs[0].forwards)
    assert torch.equal(replace(attack, batch_size=9)(model, x, y, sp.Linf(0.3)).x, runs[0].x)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    turned = attack(model, x[order], y[order], sp.Linf(0.3), index=order)
    torch.testing.assert_close(turned.x, runs[0].x[order], rtol=0, atol=1e-9)
    assert not torch.equal(attack(model, x, y, sp.Linf(0.3), seed=1).x, runs[0].x)


def test_a_success_at_lucky_draws_is_not_one() -> None:
    class Lucky(nn.Module):
        """Wrong at its third and fourth pass alone: those of the first gradient."""

        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            right = torch.tensor([2.0, 0.0]) if self.calls not in (3, 4) else torch.tensor([0.0, 2.0])
            return right + 0 * x.sum(1, keepdim=True)

    x, y = points(1, 8), torch.zeros(1, dtype=torch.int64)
    out = sp.PGD(steps=3)(sp.Model(Lucky(), eot=2), x, y, sp.Linf(0.1))
    assert not bool(out.success)
    assert int(out.backwards) == 2 * 3  # the row went on


# --- where random modules draw from -------------------------------------------------------------------------------


def test_outside_of_an_attack_random_modules_follow_the_callers_generator() -> None:
    x = points(4, 3)
    torch.manual_seed(7)
    expected = torch.randn(4, 3), torch.rand(4, 2)
    torch.manual_seed(7)
    assert torch.equal(normal(x), expected[0])
    assert torch.equal(uniform(x, (2,)), expected[1])


def test_within_a_look_a_number_is_a_function_of_example_and_clock() -> None:
    index, slot = torch.tensor([5, 8, 5]), torch.tensor([0, 1, 0])

    def look(at: Tensor, looks: list[int]) -> list[Tensor]:
        with looking(Draws(0), index[at], slot[at], torch.tensor(looks)):
            x = torch.zeros(len(at), 4)
            return [normal(x), normal(x), uniform(x)]

    everyone = look(torch.arange(3), [2, 2])
    assert len(torch.cat(everyone[:2]).unique(dim=0)) == 6  # modules, rows and repeated rows all differ
    for one, alone in zip(everyone, look(torch.tensor([1]), [2, 2]), strict=True):
        assert torch.equal(one[1:2], alone)
    assert not torch.equal(look(torch.tensor([1]), [2, 3])[0], everyone[0][1:2])
    later = look(torch.tensor([0]), [3, 2])[0]
    assert torch.equal(later[0], everyone[0][2])  # a row's second place in a look is its next tick


# --- gradients from elsewhere ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [8, 128])
def test_differences_on_a_linear_model_are_unbiased_and_err_as_the_theory_says(samples: int) -> None:
    net, x = linear(16, 2), points(400, 16)
    model = sp.Model(net, bounds=WIDE, gradients=FiniteDifferences(samples))
    seen, oracle = asked(model, x)
    weight, _ = layer(net)
    exact = weight[1] - weight[0]
    error = double(seen.gradient) - exact
    assert np.square(error).sum(1).mean() / np.square(exact).sum() == pytest.approx(17 / samples, rel=0.2)
    spread = error.std(0) / np.sqrt(400)
    assert (np.abs(error.mean(0)) < 4.5 * spread).all()
    assert oracle.forwards.tolist() == [1 + 2 * samples] * 400
    assert not bool(oracle.backwards.any())


def test_smoothing_changes_nothing_on_a_linear_model_and_costs_what_it_says() -> None:
    net, x = linear(16, 2), points(20, 16)
    seen, oracle = asked(sp.Model(net, bounds=WIDE, gradients=Smoothed(samples=6, radius=0.1)), x)
    plain, _ = asked(sp.Model(net, bounds=WIDE), x)
    torch.testing.assert_close(seen.gradient, plain.gradient)
    assert oracle.forwards.tolist() == [1 + 6] * 20
    assert oracle.backwards.tolist() == [6] * 20


def test_smoothing_is_the_mean_over_normal_points() -> None:
    """Of f(x) = x², whose slope 2x has the mean 2x; points beyond the range are moved to its edge."""

    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([torch.zeros(len(x)), x.square().sum(1)], dim=1)

    x = points(200, 4)
    seen, _ = asked(sp.Model(Square(), bounds=WIDE, gradients=Smoothed(samples=50, radius=0.01)), x)
    assert float((seen.gradient - 2 * x).abs().mean()) < 0.1
    assert float((seen.gradient - 2 * x).mean().abs()) < 0.01


def test_transfer_follows_the_other_model_exactly_and_is_judged_by_the_attacked_one() -> None:
    other, x = relu(8, 3), points(40, 8)
    net = Before(Round(), other)
    model = sp.Model(net, gradients=Transfer(other))
    seen, oracle = asked(model, x)
    assert torch.equal(seen.gradient, asked(sp.Model(other), x)[0].gradient)
    assert torch.equal(seen.logits, net(x))
    assert oracle.forwards.tolist() == [2] * 40
    assert oracle.backwards.tolist() == [1] * 40
    y = net(x).argmax(1)
    out = sp.PGD(steps=10)(model, x, y, sp.Linf(0.25))
    assert 0 < int(out.success.sum()) < 40
    assert torch.equal(net(out.x).argmax(1) != y, out.success)
    flags = [p.requires_grad for p in other.parameters()]
    assert all(flags)


def test_a_random_surrogate_never_meets_the_same_draw_twice() -> None:
    noise, x = Noise(), points(4, 8)
    model = sp.Model(relu(8, 3), gradients=Transfer(Before(noise, relu(8, 3, seed=1))))
    out = sp.PGD(steps=5)(model, x, model(x).argmax(1), sp.Linf(0.01))
    every = torch.cat(noise.drawn)
    assert len(every) == int(out.backwards.sum())
    assert len(every.unique(dim=0)) == len(every)


@pytest.mark.parametrize("kind", [FiniteDifferences, Smoothed])
@pytest.mark.parametrize(("given", "message"), [({"samples": 0}, "samples=0"), ({"radius": 0.0}, r"radius=0\.0")])
def test_estimators_check_what_they_are_given(kind: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(sp.InputError, match=message):
        kind(**given)
    with pytest.raises(sp.InputError, match="give a module"):
        Transfer(lambda x: x)  # type: ignore[arg-type]


# --- several scores at once -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "forwards", "backwards"),
    [
        ({}, 1, 2),
        ({"eot": 5}, 5, 10),
        ({"gradients": FiniteDifferences(samples=400)}, 1 + 2 * 2 * 400, 0),
        ({"gradients": Smoothed(samples=3)}, 1 + 2 * 3, 2 * 3),
    ],
    ids=["own", "eot", "differences", "smoothed"],
)
def test_several_scores_have_the_gradients_that_each_has_alone(
    view: dict[str, Any], forwards: int, backwards: int
) -> None:
    x = points(4, 8)
    model = sp.Model(linear(8, 3), **view)
    weight, bias = layer(model.net)
    seen, oracle = asked(model, x, margins)
    # Of a linear network, for the label 0: class 1 and class 2 against class 0.
    np.testing.assert_allclose(seen.score, (double(x) @ weight.T + bias)[:, 1:] - (double(x) @ weight.T + bias)[:, :1],
                               atol=1e-5)  # fmt: skip
    exact = np.broadcast_to(weight[1:] - weight[0], (4, 2, 8))
    tolerance = 0.2 if isinstance(view.get("gradients"), FiniteDifferences) else 1e-5
    np.testing.assert_allclose(seen.gradient, exact, atol=tolerance)
    assert oracle.forwards.tolist() == [forwards] * 4
    assert oracle.backwards.tolist() == [backwards] * 4


def test_of_several_gradients_each_that_is_zero_counts() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[:, 0] * 0, x[:, 0] * 0, x[:, 1]], dim=1)

    x = points(3, 2)
    _, oracle = asked(sp.Model(Half()), x, margins)
    assert oracle.zero_gradients.tolist() == [1, 1, 1]

"""What is understood of a network from a few examples: what must be averaged, and what stands in for its gradient."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from hiding import Before, Detached, InNumpy, Noise, NoisyHook, Reversed, Round
from models import relu, seeded
from sparring.attacks.cosine_pgd import CosinePGD
from sparring.auditing.pointwise import Pointwise
from sparring.auditing.understanding import Trial, Understanding, understood
from sparring.auditing.views import View
from sparring.errors import InputError
from sparring.problem import Threat, pose

THREAT = sp.Linf(0.15)
Examples = tuple[Tensor, Tensor]


def of(net: Any, examples: Examples, threat: Threat = THREAT, seed: int = 0, **more: Any) -> Understanding:
    model = sp.Model.of(net)
    return understood(model, pose(*examples, threat, model.bounds, seed=seed), **more)


def standing(model: sp.Model, examples: Examples) -> int:
    found = CosinePGD(objective="margin")(model, *examples, THREAT)
    with torch.no_grad():
        return int((sp.Model.of(model.net)(found.x).argmax(1) == examples[1]).sum())


class Around(nn.Module):
    """Something with a network inside, which its forward hides."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return 10 * nn.functional.one_hot(self.net(x).argmax(1), 10).to(x)


class Stairs(nn.Module):
    """A ReLU in steps: the gradient is zero."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.relu() / 0.2).round() * 0.2


def stairs(net: nn.Module) -> nn.Module:
    """A copy with steps for activations."""
    parts = [Stairs() if isinstance(part, nn.ReLU) else copy.deepcopy(part) for part in net.children()]
    return nn.Sequential(*parts)


@pytest.fixture(scope="module")
def honest(natural: nn.Module, hardened: nn.Module, convolutional: nn.Module) -> dict[str, nn.Module]:
    return {"natural": natural, "hardened": hardened, "convolutional": convolutional}


@pytest.mark.parametrize("name", ["natural", "hardened", "convolutional"])
@pytest.mark.parametrize("threat", [sp.Linf(0.1), sp.L2(0.5), sp.L1(2.0), sp.L0(4)], ids=str)
def test_an_honest_network_needs_nothing(
    honest: dict[str, nn.Module], name: str, threat: Threat, images: Examples
) -> None:
    found = of(honest[name], images, threat)
    assert (found.random, found.eot, found.gradient, found.views) == (False, 1, True, ())
    assert found.judged(model := sp.Model(honest[name])) is found.searched(model) is model


@pytest.mark.parametrize(
    "front", [Round(), InNumpy(), Detached(), NoisyHook(), Reversed()], ids=lambda front: type(front).__name__
)
def test_a_front_that_hides_gets_a_stand_in_as_good_as_knowing_it(
    natural: nn.Module, front: nn.Module, images: Examples
) -> None:
    net = Before(front, natural)
    found = of(net, images)
    assert found.views
    knowing = standing(sp.Model(net, bpda={"pre": "identity"}), images)
    through = min(standing(view, images) for view in found.seen(sp.Model(net)))
    assert through <= knowing + 2
    assert through < 48  # of 64; plain attacks leave nearly all standing, or find no gradient


def test_a_step_in_numpy_may_be_passed_over_as_if_it_were_not_there(natural: nn.Module, images: Examples) -> None:
    found = of(Before(InNumpy(), natural), images)
    assert not found.gradient
    assert found.trials["own"] == Trial(0.0)
    assert found.trials["stand-ins"].won == found.examples
    assert View("stand-ins", {"pre": "identity"}).of(sp.Model(Before(InNumpy(), natural))).bpda


def test_activations_in_steps_are_followed_by_their_smoothed_slopes(natural: nn.Module, images: Examples) -> None:
    net = stairs(natural)
    found = of(net, images)
    assert not found.gradient
    assert found.views[0].layers in ({"2": "pointwise"}, {"2": "identity"})
    assert found.trials["pointwise"].way >= found.trials["stand-ins"].way - 0.05
    through = standing(View("pointwise", {"2": "pointwise"}).of(sp.Model(net)), images)
    twin = standing(sp.Model(net, gradients=sp.gradients.Transfer(natural)), images)
    assert through <= twin + 3


def test_a_forward_that_says_labels_alone_is_seen_through_by_the_network_inside(
    natural: nn.Module, images: Examples
) -> None:
    found = of(Around(natural), images)
    assert not found.gradient
    assert found.views == (View("part net", part="net"),)


def test_logits_that_saturate_are_seen_on_another_scale(natural: nn.Module, images: Examples) -> None:
    net = copy.deepcopy(natural)
    last = next(part for part in reversed(list(net.children())) if isinstance(part, nn.Linear))
    with torch.no_grad():
        last.weight.mul_(1e4)
        last.bias.mul_(1e4)
    (view,) = of(net, images).views
    assert view.name == "scale"
    assert view.scale > 1e3


def test_what_a_module_declares_stands_in(natural: nn.Module, images: Examples) -> None:
    (view, *_) = of(sp.defenses.Quantize(2)(natural), images).views
    assert view.layers.get("before") in ("declared", None)
    assert of(sp.defenses.Quantize(2)(natural), images).trials["stand-ins"].won > 12


def test_a_random_network_is_averaged_and_keeps_its_own_gradient(natural: nn.Module, images: Examples) -> None:
    found = of(Before(Noise(0.1), natural), images)
    assert (found.random, found.eot, found.views) == (True, 8, ())
    model = sp.Model(Before(Noise(0.1), natural))
    assert found.searched(model).eot == 8
    assert found.searched(model.seen_by(eot=20)).eot == 20
    assert found.judged(model).eot == found.judged(model.seen_by(eot=20)).eot == 32
    assert found.judged(model.seen_by(eot=50)).eot == 50
    assert of(sp.Model(Before(Noise(0.1), natural), eot=20), images).eot == 20


def test_a_random_network_that_rounds_too_gets_both(natural: nn.Module, images: Examples) -> None:
    found = of(nn.Sequential(Round(), Noise(0.1), natural), images)
    assert found.random
    assert found.views
    assert all(view.eot == 8 for view in found.seen(sp.Model(nn.Sequential(Round(), Noise(0.1), natural))))


@pytest.mark.parametrize("make", [lambda net: torch.jit.script(net), lambda net: lambda x: net(x)], ids=["script", "f"])
def test_what_has_no_layers_to_watch_is_only_asked_whether_it_is_random(
    natural: nn.Module, make: Callable[[nn.Module], Any], images: Examples
) -> None:
    found = of(make(natural), images)
    assert (found.random, found.gradient, found.views, found.trials) == (False, True, (), {})


def test_the_callers_own_estimator_stays(natural: nn.Module, images: Examples) -> None:
    gradients = sp.gradients.Transfer(natural)
    assert of(sp.Model(Before(Round(), natural), gradients=gradients), images).views == ()


def test_the_callers_own_surrogate_stays(natural: nn.Module, images: Examples) -> None:
    model = sp.Model(Before(Round(), natural), bpda={"pre": "identity"})
    assert of(model, images).views == ()
    (seen,) = [View("x", {"pre": "estimate"}).of(model)]
    assert seen.bpda == model.bpda


def test_a_layer_that_refuses_to_be_run_alone_costs_its_view_and_nothing_else(
    natural: nn.Module, images: Examples
) -> None:
    class Strict(Round):
        def forward(self, x: Tensor) -> Tensor:
            if bool((x < 0).any()):
                raise ValueError("not an image")
            return super().forward(x)

    found = of(Before(Strict(), natural), images)
    assert found.trials["pointwise"] == Trial(0.0)
    assert [view.name for view in found.views] in (["stand-ins"], ["part net"])


def test_nobody_right_and_no_radius_ask_little(natural: nn.Module, images: Examples) -> None:
    x, y = images
    assert of(natural, (x, (y + 1) % 10)).examples < 32
    with torch.no_grad():
        wrong = (natural(x).argmax(1) + 1) % 10
    assert of(natural, (x, wrong)).views == ()
    assert of(natural, images, sp.L2()).trials == {}


def test_the_answer_is_a_function_of_the_network_the_examples_and_the_seed(
    natural: nn.Module, images: Examples
) -> None:
    net = Before(Round(), natural)
    first = of(net, images)
    torch.manual_seed(7)
    assert of(net, images) == first
    assert of(net, images, batch_size=5) == first
    assert of(net, (images[0][:32], images[1][:32])) == first


def test_the_network_and_the_callers_generators_are_left_as_they_were(natural: nn.Module, images: Examples) -> None:
    net = nn.Sequential(Before(Round(), copy.deepcopy(natural)), nn.BatchNorm1d(10), nn.Dropout())
    net[0].net.requires_grad_(False)
    net[0].eval()
    modes = [module.training for module in net.modules()]
    asked = [parameter.requires_grad for parameter in net.parameters()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for mode in ("eval", "as-is"):
        of(sp.Model(net, mode=mode), images)
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in net.modules()] == modes
    assert [parameter.requires_grad for parameter in net.parameters()] == asked
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    assert not any(getattr(module, name) for module in net.modules() for name in hooks)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_it_costs_a_few_thousand_passes_of_single_examples(natural: nn.Module, images: Examples) -> None:
    for net in (natural, Before(Round(), natural), Before(Noise(), natural), Around(natural)):
        found = of(net, images)
        assert 0 < found.forwards + found.backwards < 100 * 32
        assert found.examples <= 24


@pytest.mark.parametrize(
    "make", [lambda net: net, lambda net: Before(Round(), net), lambda net: Before(Noise(), net), Around]
)
def test_the_answer_survives_json(natural: nn.Module, make: Callable[[nn.Module], nn.Module], images: Examples) -> None:
    found = of(make(natural), images)
    told = json.loads(json.dumps(found.records()))
    assert Understanding.read(told) == found
    spent = {"examples", "forwards", "backwards", "seconds"}
    assert {"random", "eot", "gradient", "roughness", "views", "trials"} | spent == set(told)


def test_what_cannot_be_read_is_told(natural: nn.Module) -> None:
    for told in ({}, {"random": False, "eot": 1, "gradient": True, "views": [{"name": "x"}], "trials": {}}):
        with pytest.raises(InputError, match="new folder"):
            Understanding.read(told)
    with pytest.raises(InputError, match="no submodule 'pre'"):
        View("stand-ins", {"pre": "pointwise"}).of(sp.Model(natural))
    with pytest.raises(InputError, match="declares no surrogate"):
        View("stand-ins", {"1": "declared"}).of(sp.Model(natural))
    with pytest.raises(InputError, match="'nothing' for layer 'pre'"):
        View("stand-ins", {"pre": "nothing"})
    with pytest.raises(InputError, match="scale=0"):
        View("scale", scale=0)


def test_the_slope_of_a_smooth_layer_is_its_own(natural: nn.Module) -> None:
    x = torch.randn(3, 1, 8, requires_grad=True)
    (slope,) = torch.autograd.grad(Pointwise(nn.Softplus(), radii=(1e-3,))(x).sum(), x)
    assert torch.allclose(slope, torch.sigmoid(x), atol=1e-3)


def test_a_wide_slope_bridges_steps_and_sums_over_repeated_channels() -> None:
    class Codes(nn.Module):
        """One channel a level."""

        levels = (torch.arange(5) / 5).reshape(1, -1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return (x > self.levels).to(x)

    x = torch.rand(4, 1, 60, requires_grad=True)
    smooth = Pointwise(Codes())(x)
    assert smooth.shape == (4, 5, 60)
    (slope,) = torch.autograd.grad(smooth.sum(), x)
    assert 3 < float(slope.mean()) < 6  # five steps of 1 over a range of 1


def test_of_a_layer_that_mixes_entries_the_diagonal_is_left() -> None:
    mix = seeded(lambda: nn.Linear(6, 6), 0)
    x = torch.randn(4000, 6, requires_grad=True)
    (slope,) = torch.autograd.grad(Pointwise(mix)(x).sum(), x)
    assert torch.allclose(slope.mean(0), mix.weight.diagonal(), atol=0.05)


def test_small_networks_on_flat_inputs_work_too() -> None:
    net = relu(16, 3)
    x = torch.rand(20, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = net(x).argmax(1)
    assert of(net, (x, y), sp.Linf(0.3)).views == ()
    assert of(nn.Sequential(Round(), net), (x, y), sp.Linf(0.3)).views

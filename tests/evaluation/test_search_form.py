"""The search may take another form of the network; what counts, and what is left of the caller's, stays the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from evaluation.forms import Ticking, convolutional, lived, points
from models import seeded
from sparring.attacks.attack import entered, opened
from sparring.evaluation.machine import settle
from sparring.evaluation.settings import Settings, fixed
from sparring.oracle import Oracle
from sparring.problem import Outcome, pose
from sparring.solve import verified


def snapshot(net: nn.Module) -> list[Any]:
    """Everything of a network that a copy might be mistaken for."""
    values = [*net.parameters(), *net.buffers()]
    return [
        [(id(v), v._version, v.stride(), v.dtype, v.requires_grad, v.tolist(), id(v.grad)) for v in values],
        [(id(m), m.training, list(m._forward_hooks), list(m._forward_pre_hooks)) for m in net.modules()],
        list(net.state_dict()),
        torch.get_rng_state().tolist(),
    ]


FORMS = [
    Settings(4, folded=True),
    Settings(4, memory_format="channels_last"),
    Settings(4, folded=True, memory_format="channels_last", dtype="bfloat16"),
]


@pytest.mark.parametrize("settings", FORMS, ids=lambda one: "-".join(map(str, one.records()["settled"].values())))
def test_the_callers_network_is_left_as_it_was(settings: Settings) -> None:
    net, x = seeded(lambda: lived(convolutional()), 0), points(40, 2, 6, 6)
    net[0].weight.grad = torch.ones_like(net[0].weight)
    net[3].weight.requires_grad_(False)
    net[4].train()
    model = sp.Model(net, mean=0.5, std=[0.2, 0.3])
    before = snapshot(net)
    view = settings.view(model)
    settle(model, x, clock=Ticking(), longest=100)
    with torch.no_grad():
        said = view(x)
    assert snapshot(net) == before
    assert view is not model
    assert not {id(v) for v in net.parameters()} & {id(v) for v in view.parameters()}
    assert not any(p.requires_grad for p in view.parameters())
    tolerance = 0.1 if settings.dtype == "bfloat16" else 1e-5
    exact = model(x).detach()
    torch.testing.assert_close(said, exact, rtol=0, atol=tolerance * float(exact.abs().max()))
    assert view.bounds == model.bounds


class Draws(nn.Module):
    random = True

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


def hooked() -> nn.Module:
    net = lived(convolutional())
    net[1].register_forward_hook(lambda module, inputs, output: None)
    return net


@pytest.mark.parametrize(
    "model",
    [
        sp.Model(lambda x: x.flatten(1)),
        sp.Model(hooked()),
        sp.Model(lived(convolutional()), mode="as-is"),
        sp.Model(lived(convolutional()), eot=2),
        sp.Model(lived(convolutional()), bpda={"0": "identity"}),
        sp.Model(lived(convolutional()), gradients=sp.gradients.FiniteDifferences(2)),
        sp.Model(nn.Sequential(Draws(), lived(convolutional()))),
        sp.Model(lived(convolutional()).to(torch.bfloat16)),
    ],
    ids=["callable", "hooks", "as-is", "eot", "bpda", "gradients", "random", "half"],
)
def test_where_equality_cannot_be_kept_the_search_has_the_network_itself(model: sp.Model) -> None:
    assert fixed(model)
    for settings in FORMS:
        assert settings.view(model) is model


def test_settings_come_back_from_json_and_what_was_measured_is_no_difference() -> None:
    settings = Settings(64, "channels_last", True, "bfloat16", {"milliseconds": {"1": 0.5}, "tried": {}})
    records = json.loads(json.dumps(settings.records()))
    assert Settings.read(records) == settings == Settings(64, "channels_last", True, "bfloat16")
    assert Settings.read(records).records() == records == settings.records()
    for broken in ({}, {"settled": {}}, {"settled": {"batch_size": 0}}, {"settled": {"batch_size": 1, "speed": 2}}):
        with pytest.raises(sp.InputError):
            Settings.read(broken)
    with pytest.raises(sp.InputError, match="dtype is 'float8'; use 'as-is' or 'bfloat16'"):
        Settings(1, dtype="float8")  # type: ignore[arg-type]


# --- searching in another precision ---------------------------------------------------------------------------------


class Cliff(nn.Module):
    """Wrong where the mean of x is above `level`, with a smooth slope towards it; in bfloat16 the level is `other`."""

    def __init__(self, level: float, other: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 1) / 4)
        self.level, self.other = level, other

    def forward(self, x: Tensor) -> Tensor:
        level = self.other if self.weight.dtype == torch.bfloat16 else self.level
        lead = (x @ self.weight).float() - level
        return torch.cat([-lead, lead], dim=1)


def attacked(net: nn.Module, settings: Settings, attack: Any, radius: float) -> tuple[Outcome, Oracle]:
    """The attack on six rows at 0.5, through the view."""
    model = sp.Model(net)
    view = settings.view(model)
    problem = pose(torch.full((6, 4), 0.5), torch.zeros(6, dtype=torch.int64), sp.Linf(radius), model.bounds)
    with model.quiet():
        oracle = Oracle(view, 6, problem.x.device, None if view is model else model)
        problem, _ = opened(entered(problem, "attack"), oracle)
        return verified(problem, oracle, attack.run(problem, oracle)), oracle


COARSE = Settings(8, dtype="bfloat16")


@pytest.mark.parametrize("attack", [sp.PGD(steps=10), sp.APGD(steps=10), sp.FAB(steps=5)], ids=["pgd", "apgd", "fab"])
def test_a_search_that_is_deceived_claims_nothing(attack: Any) -> None:
    net = Cliff(level=0.9, other=0.52)  # 0.9 is out of reach
    out, oracle = attacked(net, COARSE, attack, 0.1)
    assert oracle.coarse
    assert not bool(out.success.any())


@pytest.mark.parametrize("attack", [sp.PGD(steps=10), sp.APGD(steps=10)], ids=["pgd", "apgd"])
def test_a_row_that_the_judge_denies_goes_on_and_falls(attack: Any) -> None:
    net = Cliff(level=0.58, other=0.52)
    out, oracle = attacked(net, COARSE, attack, 0.1)
    assert bool(out.success.all())
    assert bool((net(out.x).argmax(1) == 1).all())
    assert bool((out.distance <= 0.1001).all())
    assert torch.equal(out.forwards, oracle.forwards)


def test_a_success_that_the_search_does_not_see_is_seen_by_the_judge() -> None:
    net = Cliff(level=0.58, other=0.9)
    out, _ = attacked(net, COARSE, sp.PGD(steps=10), 0.1)
    assert bool(out.success.all())
    assert bool((net(out.x).argmax(1) == 1).all())


def test_looks_of_the_judge_and_of_the_search_are_counted_together() -> None:
    passes = {torch.float32: 0, torch.bfloat16: 0}

    class Counted(Cliff):
        def forward(self, x: Tensor) -> Tensor:
            passes[self.weight.dtype] += len(x)
            return super().forward(x)

    _, oracle = attacked(Counted(0.58, 0.52), COARSE, sp.PGD(steps=10), 0.1)
    assert min(passes.values()) > 0
    assert int(oracle.forwards.sum()) == sum(passes.values())


def test_an_equal_form_is_asked_no_more_often_than_the_network_itself() -> None:
    net = seeded(lambda: lived(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))), 0)
    with torch.no_grad():
        net[3].bias -= net(torch.full((1, 4), 0.5))[0] + torch.tensor([0.0, 0.01])
    (plain, _), (folded, oracle) = (
        attacked(net, settings, sp.PGD(steps=10), 0.2) for settings in (Settings(8), Settings(8, folded=True))
    )
    assert not oracle.coarse
    assert bool(plain.success.any())
    assert torch.equal(folded.success, plain.success)
    assert torch.equal(folded.forwards, plain.forwards)


def test_new_counts_keep_the_judge_unless_another_view_is_given() -> None:
    model, other = sp.Model(Cliff(0.9, 0.5)), sp.Model(Cliff(0.8, 0.5))
    oracle = Oracle(COARSE.view(model), 3, torch.device("cpu"), model)
    oracle.recount(2)
    assert oracle.judge is model
    assert oracle.coarse
    oracle.recount(2, other)
    assert oracle.judge is oracle.model is other
    assert not oracle.coarse

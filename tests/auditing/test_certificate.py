"""C: interval bounds hold, apply to known networks alone, and catch an attack that lies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import sparring as sp
from models import linear, relu, seeded
from sparring.auditing.certificate import certificate, intervals


def convolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"),
        nn.ReLU(inplace=True),
        nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False)),
        nn.ReLU(),
        nn.MaxPool2d(2, stride=1, padding=1),
        nn.Identity(),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(24, 4),
    ).eval()


NETS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: linear(64, 3),
    "relu": lambda: relu(64, 3),
    "convolution": convolution,
    "lone layer": lambda: nn.Linear(64, 3),
    "one logit": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 1)),
    "double": lambda: relu(64, 3).double(),
    "bfloat16": lambda: relu(64, 3).bfloat16(),
}


@settings(max_examples=12)
@given(seed=st.integers(0, 10_000), radius=st.sampled_from([0.0, 0.01, 0.1, 1.0]))
@pytest.mark.parametrize("kind", NETS)
def test_bounds_hold_the_logits_of_every_point_of_the_box(kind: str, seed: int, radius: float) -> None:
    model = sp.Model(seeded(NETS[kind], seed))
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(3, 1, 8, 8, generator=generator)
    if kind == "lone layer":
        x = x.flatten(1)
    low, high = (x - radius).clamp_min(0), (x + radius).clamp_max(1)
    bounds = intervals(model, low, high)
    assert bounds is not None
    for _ in range(20):
        share = torch.rand(x.shape, generator=generator).round(decimals=1)  # corners and edges too
        with torch.no_grad():
            logits = model(low + share * (high - low)).double()
        assert bool((logits >= bounds[0]).all())
        assert bool((logits <= bounds[1]).all())


@pytest.mark.parametrize("kind", ["linear", "lone layer"])
def test_bounds_of_a_linear_layer_are_tight(kind: str) -> None:
    net = NETS[kind]()
    weight, x = next(one for one in net.modules() if isinstance(one, nn.Linear)).weight, torch.full((1, 64), 0.5)
    bounds = intervals(sp.Model(net), x - 0.1, x + 0.1)
    assert bounds is not None
    width = 0.2 * weight.abs().sum(1)
    torch.testing.assert_close((bounds[1] - bounds[0])[0].float(), width, rtol=0, atol=2e-3)


class Body(nn.Module):
    """Two linear layers with something between them."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.between = nn.Linear(64, 8), nn.Linear(8, 3), between

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.between(self.a(x.flatten(1))))


class Kept(nn.Module):
    """Hands everything on, but writes into it."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.flat, self.a, self.b, self.change = nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 3), change

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(self.flat(x))
        self.change(x)
        return self.b(x)


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class ByKeyword(Kept):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(input=self.a(self.flat(x)))


def hooked() -> nn.Module:
    net = relu(64, 3)
    net[1].register_forward_hook(lambda module, inputs, output: output * 2)
    return net


UNKNOWN: dict[str, Callable[[], Any]] = {
    "functional": lambda: Body(functional.relu),
    "in place": lambda: Kept(lambda z: z.mul_(-3)),
    "functional in place": lambda: Kept(functional.relu_),
    "written at the end": lambda: nn.Sequential(nn.Flatten(), Written()),
    "by keyword": lambda: ByKeyword(lambda z: z),
    "subclass": lambda: nn.Sequential(nn.Flatten(), Doubled(64, 3)),
    "hook": hooked,
    "unknown layer": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Softplus()),
    "normalised": lambda: sp.Model(linear(64, 3), mean=0.5, std=0.5),
    "eot": lambda: sp.Model(linear(64, 3), eot=2),
    "callable": lambda: lambda x: x.flatten(1)[:, :3],
    "dropout at work": lambda: sp.Model(nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 3)), mode="as-is"),
    "weights elsewhere": lambda: nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(64, 3))),
    "scripted": lambda: torch.jit.trace(linear(64, 3), torch.rand(2, 1, 8, 8)),
}


class Written(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x).mul_(2)


@pytest.mark.parametrize("kind", UNKNOWN)
def test_nothing_is_claimed_of_a_network_that_is_not_a_plain_sequence(kind: str) -> None:
    x = torch.rand(2, 1, 8, 8)
    assert intervals(sp.Model.of(UNKNOWN[kind]()), x, x) is None


def test_a_lying_attack_is_caught_and_an_honest_one_is_not(under: Any, natural: nn.Module, images: Any) -> None:
    with under(natural, images, sp.Linf(1e-3)) as subject:
        everyone = torch.ones_like(subject.standing)
        lied, honest = certificate(subject, everyone), certificate(subject, ~everyone)
    assert lied is not None
    assert honest is not None
    assert lied.flagged
    assert lied.says == "unreliable"
    assert lied.statistic is not None
    assert lied.statistic > 0.5 * len(everyone)
    assert not honest.flagged


def test_what_is_certified_is_not_broken(under: Any, hardened: nn.Module, images: Any) -> None:
    radius = 0.01
    with under(hardened, images, sp.Linf(radius)) as subject:
        problem = subject.problem
        out = sp.PGD(steps=20, objective="margin", n_targets=9)(
            hardened, problem.x, problem.goal.label, sp.Linf(radius)
        )
        found = certificate(subject, out.success)
    assert found is not None
    assert not found.flagged
    assert "certify 0 of" not in found.meaning


def test_only_linf_has_bounds_and_a_mask_narrows_them(under: Any, natural: nn.Module, images: Any) -> None:
    with under(natural, images, sp.L2(1e-3)) as subject:
        assert certificate(subject, subject.standing) is None
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)  # nothing may move, so everything is certified
    with under(natural, images, sp.Linf(1.0, mask=mask)) as subject:
        found = certificate(subject, ~subject.standing)
        assert found is not None
        assert f"certify {len(subject)} of {len(subject)}" in found.meaning

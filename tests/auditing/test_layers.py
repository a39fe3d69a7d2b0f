"""B8: the guilty layer by name, and nobody else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import sparring as sp
from hiding import Before, InNumpy, Noise, NoisyHook, Reversed, Round, StraightThrough
from models import linear, relu, seeded
from sparring.auditing.layers import accused, guilty
from sparring.zoo import SmallResNet

THREAT = sp.Linf(0.1)


def examples(net: nn.Module, *shape: int) -> tuple[Tensor, Tensor]:
    x = torch.rand(20, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return x, sp.Model(net)(x).argmax(1)


def named(under: Any, net: nn.Module, *shape: int, batch_size: int | None = None) -> dict[str, str]:
    """What is called guilty, and what should stand in."""
    with under(net, examples(net, *shape), THREAT, batch_size=batch_size) as subject:
        return {layer.name: layer.stand_in for layer in guilty(subject)}


@pytest.mark.parametrize(
    "front", [Round(), InNumpy(), NoisyHook(), Reversed()], ids=["round", "numpy", "hook", "reversed"]
)
def test_a_layer_that_misleads_is_named_wherever_it_stands(under: Any, front: nn.Module) -> None:
    assert named(under, Before(front, relu(16, 3)), 16) == {"pre": "identity"}
    inner = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.Sequential(nn.Identity(), front), nn.Linear(16, 3))
    assert named(under, seeded(lambda: Before(nn.Identity(), inner), 0), 16) == {"net.2.1": "identity"}


@pytest.mark.parametrize("size", [1, 7, 20])
def test_it_is_named_in_small_batches_too(under: Any, size: int) -> None:
    assert named(under, Before(Round(), relu(16, 3)), 16, batch_size=size) == {"pre": "identity"}


def test_two_guilty_layers_are_two(under: Any) -> None:
    net = nn.Sequential(Round(), linear(16, 8), Reversed(), nn.Linear(8, 3))
    assert named(under, net, 16) == {"0": "identity", "2": "identity"}


def test_what_is_nothing_like_the_identity_is_estimated(under: Any) -> None:
    class Negative(Round):
        def forward(self, x: Tensor) -> Tensor:
            return -super().forward(x)

    class Twice(Round):
        """Another shape."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.cat([x, x], dim=1))

    assert named(under, Before(Negative(), relu(16, 3)), 16) == {"pre": "estimate"}
    assert named(under, Before(Twice(), relu(32, 3)), 16) == {"pre": "estimate"}


def test_a_forward_that_rounds_between_honest_layers_is_the_networks_own(under: Any) -> None:
    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(16, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b((self.a(x) * 8).round() / 8)

    net = seeded(Inside, 0)
    with under(net, examples(net, 16), THREAT) as subject:
        (layer,) = guilty(subject)
    assert layer.name == ""
    assert "the network's own forward (Inside)" in accused([layer]).meaning


class Odd(nn.Module):
    """Honest, and called in every way: by keyword, twice, with two inputs, in place, with tuples and dicts."""

    class Sum(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a + b

    class Scaled(nn.Module):
        def forward(self, x: Tensor, factor: Tensor) -> dict[str, Tensor]:
            return {"x": x * factor}

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared, self.last = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 3)
        self.act, self.sum, self.scaled = nn.ReLU(inplace=True), self.Sum(), self.Scaled()
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        z = self.act(self.first(x))
        z = self.sum(self.shared(z), self.shared(z * 0.5))
        z = self.scaled(z, factor=torch.tensor(0.5))["x"].view(-1, 4, 4)
        z, _ = self.attend(z, z, z)
        return {"logits": self.last(z.flatten(1)), "loss": torch.zeros(())}


HONEST = {
    "relu": (lambda: relu(16, 3), (16,)),
    "in place": (lambda: nn.Sequential(nn.Linear(16, 16), nn.ReLU(inplace=True), nn.Linear(16, 3)), (16,)),
    "odd": (Odd, (16,)),
    "sigmoid": (lambda: nn.Sequential(nn.Linear(16, 16), nn.Sigmoid(), nn.Linear(16, 1), nn.Flatten(0)), (16,)),
    "double": (lambda: relu(16, 3).double(), (16,)),
    "bfloat16": (lambda: relu(16, 3).bfloat16(), (16,)),
    "straight through": (lambda: Before(StraightThrough(31), relu(16, 3)), (16,)),
    "residual": (lambda: SmallResNet(stem=4, width=8, blocks=1, classes=3), (3, 16, 16)),
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.GELU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.LayerNorm(36),
            nn.Dropout(),
            nn.Linear(36, 3),
        ),
        (1, 8, 8),
    ),
    "recurrent": (lambda: nn.Sequential(nn.GRU(4, 8, batch_first=True), First(), nn.Linear(8, 3)), (5, 4)),
}


class First(nn.Module):
    """The last state of a recurrent layer's output."""

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        return functional.relu(pair[0][:, -1])


@pytest.mark.parametrize("kind", HONEST)
def test_no_honest_network_is_accused(under: Any, kind: str) -> None:
    make, shape = HONEST[kind]
    assert named(under, seeded(make, 0).eval(), *shape) == {}


def test_trained_honest_networks_are_not_accused(
    under: Any, natural: nn.Module, hardened: nn.Module, convolutional: nn.Module, images: Any
) -> None:
    for net in (natural, hardened, convolutional):
        with under(net, images, THREAT) as subject:
            assert guilty(subject) == []


def test_random_layers_are_not_judged_and_the_rest_are(under: Any) -> None:
    assert named(under, Before(Noise(), relu(16, 3)), 16) == {}
    assert named(under, nn.Sequential(Round(), Noise(), relu(16, 3)), 16) == {"0": "identity"}


def test_scripted_networks_and_callables_have_no_layers_to_judge(under: Any) -> None:
    net = torch.jit.script(relu(16, 3))
    assert named(under, net, 16) == {}
    with under(lambda x: net(x), examples(net, 16), THREAT) as subject:
        assert guilty(subject) == []


def test_no_hook_stays_and_every_pass_is_counted(under: Any) -> None:
    net = Before(Round(), relu(16, 3))
    with under(net, examples(net, 16), THREAT) as subject:
        before = subject.forwards
        guilty(subject)
        assert subject.forwards - before == 3 * 16
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())

"""Defensive distillation as history has it: Papernot et al. (2016) hide the gradient, C&W (2017) find it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sparring.attacks import PGD, CarliniWagner
from sparring.data import load
from sparring.defenses import Distillation, Standard
from sparring.threats import L2, Linf
from sparring.training import OneCycle, train
from sparring.zoo import MLP

THREAT = Linf(0.2)


@pytest.fixture(scope="module")
def models() -> tuple[nn.Module, nn.Module]:
    """An undefended network, and one distilled at T = 100."""
    torch.manual_seed(0)
    net = MLP()
    natural = train(net, "digits", Standard(), epochs=30, lr=3e-3, schedule=OneCycle()).model
    distilled = train(net, "digits", Distillation(100.0), epochs=30, lr=1e-2, schedule=OneCycle()).model
    return natural, distilled


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    test = load("digits", split="test", limit=100)
    return test.x, test.y


def test_both_read_digits(models: tuple[nn.Module, nn.Module], digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    for net in models:
        assert float((net(x).argmax(1) == y).float().mean()) >= 0.93


def test_plain_pgd_with_cross_entropy_fails_because_gradients_are_exactly_zero(
    models: tuple[nn.Module, nn.Module], digits: tuple[Tensor, Tensor]
) -> None:
    natural, distilled = (PGD()(net, *digits, THREAT) for net in models)
    assert float(natural.success.float().mean()) >= 0.98
    assert not bool(natural.zero_gradients.any())
    assert float(distilled.success.float().mean()) <= 0.3
    standing = ~distilled.success
    assert float((distilled.zero_gradients[standing] > 0).float().mean()) >= 0.9


def test_a_margin_loss_succeeds_on_all(models: tuple[nn.Module, nn.Module], digits: tuple[Tensor, Tensor]) -> None:
    out = PGD(objective="margin")(models[1], *digits, THREAT)
    assert bool(out.success.all())


def test_carlini_and_wagner_succeed_on_all_at_the_undefended_distances(
    models: tuple[nn.Module, nn.Module], digits: tuple[Tensor, Tensor]
) -> None:
    attack = CarliniWagner(searches=5, steps=100, initial_c=1.0, learning_rate=0.05)
    means = []
    for net in models:
        out = attack(net, *digits, L2())
        attacked = out.backwards > 0
        assert bool(out.success.all())
        means.append(float(out.distance[attacked].mean()))
    natural, distilled = means
    assert 0.7 <= distilled / natural <= 1.3

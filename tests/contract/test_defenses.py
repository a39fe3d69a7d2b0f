"""Laws that every registered defense keeps. A new defense is one registry line, and is tested here."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sparring.defenses import REGISTRY, Context, Defense, available
from sparring.defenses.context import viewed
from sparring.defenses.defense import prepared, teachers
from sparring.model import Model
from sparring.threats import Linf
from sparring.training import train

EPS = 0.1
DEFENSES = [pytest.param(kind(), id=name) for name, kind in available().items()]
ROWS = 12
X = torch.rand(ROWS, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(ROWS) % 3


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


def ready(defense: Defense) -> Defense:
    """The defense with a teacher, where it needs one."""

    def educate(lesson: Defense) -> nn.Module:
        teacher = network().eval()
        with torch.no_grad():
            teacher[4].weight.mul_(-3)
        return teacher

    return prepared(defense, educate)


def context(net: nn.Module, at: Tensor | None = None, epoch: int = 1) -> Context:
    index = torch.arange(ROWS) if at is None else at
    model = viewed(Model.of(net), "as-is")
    return Context(model, X[index], Y[index], index, Linf(EPS), seed=0, epoch=epoch)


def test_available_is_a_copy() -> None:
    available().clear()
    assert set(REGISTRY) >= {"standard", "adversarial_training"}


@pytest.mark.parametrize("defense", DEFENSES)
def test_is_a_frozen_value(defense: Defense) -> None:
    assert defense == type(defense)() == replace(defense) == pickle.loads(pickle.dumps(defense))
    assert hash(defense) == hash(type(defense)())
    assert repr(defense) == repr(type(defense)())
    assert " at 0x" not in repr(defense)


@pytest.mark.parametrize("defense", DEFENSES)
def test_loss_is_one_number_an_example_with_gradients_to_every_weight(defense: Defense) -> None:
    net = network()
    loss = ready(defense).loss(context(net))
    assert loss.shape == (ROWS,)
    assert bool(loss.isfinite().all())
    # A penalty of the slope alone does not move the last bias.
    found = torch.autograd.grad(loss.mean(), list(net.parameters()), allow_unused=True)
    gradients = [gradient for gradient in found if gradient is not None]
    assert len(gradients) >= len(found) - 1
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert any(bool(gradient.any()) for gradient in gradients)


@pytest.mark.parametrize("defense", DEFENSES)
def test_loss_of_an_example_does_not_depend_on_its_batch(defense: Defense) -> None:
    net = network().double().eval()  # training mode would mix rows in BatchNorm, which is the network's doing
    defense = ready(defense)
    for teacher in teachers(defense):
        teacher.double()
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    whole = defense.loss(context(net))
    parts = torch.cat([defense.loss(context(net, at)) for at in order.split(5)])
    torch.testing.assert_close(parts, whole[order], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("defense", DEFENSES)
def test_loss_leaves_flags_and_gradients_alone(defense: Defense) -> None:
    net, defense = network(), ready(defense)
    defense.loss(context(net))
    assert all(module.training for module in net.modules())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


@pytest.mark.parametrize("defense", DEFENSES)
def test_loss_is_reproducible(defense: Defense) -> None:
    defense = ready(defense)
    assert torch.equal(defense.loss(context(network())), defense.loss(context(network())))


@pytest.mark.filterwarnings("ignore::sparring.training.TrainingAlarm")  # twelve examples of noise
@pytest.mark.parametrize("defense", DEFENSES)
def test_trains(defense: Defense) -> None:
    trained = train(network(), (X, Y), defense, Linf(EPS), epochs=8, batch_size=6, lr=0.01)
    first, last = trained.history[0], trained.history[-1]
    assert last["loss"] < first["loss"]
    assert all(0 <= record["accuracy"] <= 1 for record in trained.history)

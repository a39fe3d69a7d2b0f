"""Every registered attack that can train is tried in training; a new one is found in the registry."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import sparring as sp
from models import seeded
from quick import ATTACKS, NORMS, quick
from sparring.errors import InputError
from sparring.training import TrainingAlarm

X = torch.rand(24, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(24) % 3
RADII = {"linf": 0.05, "l2": 0.3, "l1": 1.0, "l0": 2.0}
pytestmark = pytest.mark.filterwarnings(f"ignore::{TrainingAlarm.__module__}.{TrainingAlarm.__name__}")


def network() -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)), 0)


def trains(name: str, norm: str) -> bool:
    """Whether the attack has a form for that norm, and looks for the strongest point inside a radius."""
    try:
        sp.defenses.AdversarialTraining(quick(name)).check(NORMS[norm](RADII[norm]))
    except InputError as error:
        if "looks for the nearest" in str(error) or "no form" in str(error):
            return False
        raise
    return True


PAIRS = [(name, norm) for name in ATTACKS for norm in NORMS if trains(name, norm)]


def test_the_climbing_attacks_can_train() -> None:
    assert {"fgsm", "pgd", "mifgsm", "apgd", "cosine_pgd"} <= {name for name, _ in PAIRS}


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_it_trains(name: str, norm: str) -> None:
    defense = sp.defenses.AdversarialTraining(quick(name))
    trained = sp.train(network(), (X, Y), defense, NORMS[norm](RADII[norm]), epochs=2, batch_size=8, lr=0.01)
    assert all(math.isfinite(record["loss"]) for record in trained.history)
    before = network().state_dict()
    moved = [float((value - before[key]).abs().max()) for key, value in trained.model.state_dict().items()]
    assert min(moved) > 0


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_in_training_every_example_moves_inside_the_threat_and_comes_back_at_the_last_point(
    name: str, norm: str
) -> None:
    net, threat = network().eval(), NORMS[norm](RADII[norm])
    out = quick(name)(net, X, Y, threat, seek="strongest")
    region = threat.around(X, (0.0, 1.0))
    assert region.contains(out.x).all()
    moved = (out.x != X).flatten(1).any(1)
    assert moved.float().mean() > 0.5  # wrong ones too: nobody leaves

    def loss(x: torch.Tensor) -> float:
        with torch.no_grad():
            return float(nn.functional.cross_entropy(net(x), Y))

    assert loss(out.x) > loss(X)

"""Digits, and small networks trained on them: once a session, in a second or two each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from models import relu, seeded
from sparring.auditing.measure import opened
from sparring.auditing.subject import Subject
from sparring.data import load
from sparring.draws import isolated
from sparring.problem import Threat, pose
from sparring.zoo import SmallCNN

Examples = tuple[Tensor, Tensor]


@contextmanager
def under(
    net: object, examples: Examples, threat: Threat, batch_size: int | None = None, seed: int = 0
) -> Iterator[Subject]:
    """The subject that an audit of the network makes, while the audit runs."""
    model = sp.Model.of(net)  # type: ignore[arg-type]
    problem = pose(*examples, threat, model.bounds, seed=seed)
    with model.quiet(), isolated(seed, torch.device("cpu")):
        yield opened(model, problem, batch_size)


@pytest.fixture(scope="session", name="under")
def _under() -> object:
    return under


@pytest.fixture(scope="session")
def images() -> Examples:
    """The first 64 test digits."""
    test = load("digits", split="test", limit=64)
    return test.x, test.y


def fitted(net: nn.Module, defense: object, epochs: int, threat: Threat | None = None) -> nn.Module:
    train = load("digits", split="train")
    made = sp.train(net, (train.x, train.y), defense, threat=threat, epochs=epochs, lr=5e-3)  # type: ignore[arg-type]
    return made.model.eval()


@pytest.fixture(scope="session")
def natural() -> nn.Module:
    """A network of one hidden layer, without a defense."""
    return fitted(relu(64, 10, width=48), sp.defenses.Standard(), 8)


@pytest.fixture(scope="session")
def convolutional() -> nn.Module:
    return fitted(seeded(lambda: SmallCNN(width=8), 0), sp.defenses.Standard(), 4)


@pytest.fixture(scope="session")
def hardened() -> nn.Module:
    """Trained on adversarial examples."""
    defense = sp.defenses.AdversarialTraining(attack=sp.PGD(steps=4))
    return fitted(relu(64, 10, width=96), defense, 8, sp.Linf(0.1))

"""What an attack does when it is told nothing: its paper's settings, or those that its page states."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

import sparring as sp

# Name by name, the defaults; batch_size, None for all, aside.
DEFAULTS: dict[str, dict[str, Any]] = {
    "fgsm": {"objective": "cross_entropy", "clip": True},
    "pgd": {
        "steps": 40,
        "step_size": None,
        "objective": "cross_entropy",
        "restarts": 1,
        "random_start": True,
        "n_targets": 0,
    },
    "mifgsm": {"steps": 10, "step_size": None, "decay": 1.0, "objective": "cross_entropy"},
    "apgd": {"steps": 100, "objective": "cross_entropy", "restarts": 1, "rho": 0.75, "n_targets": 0},
    "cosine_pgd": {
        "steps": 20,
        "scatter": 5,
        "objective": "probability_margin",
        "restarts": 1,
        "n_targets": 0,
        "after": 0,
        "order": "logits",
        "high": 2.0,
        "low": 0.01,
        "momentum": 0.75,
        "gap": 3.0,
        "random_start": True,
    },
    "constraint_relaxation": {
        "steps": 150,
        "period": 30,
        "first": 10,
        "restarts": 5,
        "n_targets": 0,
        "hopeless": 0.5,
        "close": 0.05,
        "scaled": True,
    },
    "carlini_wagner": {
        "searches": 9,
        "steps": 1000,
        "learning_rate": None,
        "initial_c": None,
        "confidence": 0.0,
        "abort_early": True,
        "tau": "decay",
        "n_targets": 0,
    },
    "fab": {"steps": 100, "restarts": 1, "n_targets": 0, "alpha_max": 0.1, "eta": 1.05, "beta": 0.9, "final": 3},
    "square": {"queries": 5000, "p": 0.8, "objective": "margin", "restarts": 1, "horizon": None, "random_start": True},
    "hop_skip_jump": {
        "steps": 25,
        "initial_evaluations": 100,
        "max_evaluations": 1000,
        "tries": 100,
        "gamma": 1.0,
        "restarts": 1,
    },
}


def test_every_registered_attack_is_here() -> None:
    assert set(DEFAULTS) == set(sp.attacks.available())


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_the_stated_ones(name: str) -> None:
    attack = sp.attacks.available()[name]()
    found = {field.name: getattr(attack, field.name) for field in fields(attack) if field.init}
    assert found.pop("batch_size", None) is None
    assert found == DEFAULTS[name]

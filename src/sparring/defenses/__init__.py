"""The defenses: small frozen values that say what a network learns from. One defense, one registry line."""

from __future__ import annotations

from sparring.defenses.adversarial import AdversarialTraining
from sparring.defenses.defense import Context, Defense
from sparring.defenses.standard import Standard

REGISTRY: dict[str, type[Defense]] = {
    "standard": Standard,
    "adversarial_training": AdversarialTraining,
}

__all__ = ["REGISTRY", "AdversarialTraining", "Context", "Defense", "Standard", "available"]


def available() -> dict[str, type[Defense]]:
    """Every registered defense by name; call a class without arguments for its defaults."""
    return dict(REGISTRY)

"""The attacks: small frozen values composed of an objective, a rule and a search. One attack, one registry line."""

from __future__ import annotations

from sparring.attacks.apgd import APGD
from sparring.attacks.attack import Attack
from sparring.attacks.carlini_wagner import CarliniWagner
from sparring.attacks.fgsm import FGSM
from sparring.attacks.mifgsm import MIFGSM
from sparring.attacks.pgd import PGD

REGISTRY: dict[str, type[Attack]] = {
    "fgsm": FGSM,
    "pgd": PGD,
    "mifgsm": MIFGSM,
    "apgd": APGD,
    "carlini_wagner": CarliniWagner,
}

__all__ = ["APGD", "FGSM", "MIFGSM", "PGD", "REGISTRY", "Attack", "CarliniWagner", "available"]


def available() -> dict[str, type[Attack]]:
    """Every registered attack by name; call a class without arguments for its defaults."""
    return dict(REGISTRY)

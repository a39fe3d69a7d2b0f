"""The attacks: small frozen values composed of an objective, a rule and a search. One attack is one registry line.

Classes are imported on first use, so that their names can be listed without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparring.registry import found, loaded

if TYPE_CHECKING:
    from sparring.attacks.apgd import APGD as APGD
    from sparring.attacks.attack import Attack as Attack
    from sparring.attacks.carlini_wagner import CarliniWagner as CarliniWagner
    from sparring.attacks.constraint_relaxation import ConstraintRelaxation as ConstraintRelaxation
    from sparring.attacks.cosine_pgd import CosinePGD as CosinePGD
    from sparring.attacks.fab import FAB as FAB
    from sparring.attacks.fgsm import FGSM as FGSM
    from sparring.attacks.hop_skip_jump import HopSkipJump as HopSkipJump
    from sparring.attacks.mifgsm import MIFGSM as MIFGSM
    from sparring.attacks.pgd import PGD as PGD
    from sparring.attacks.square import Square as Square

REGISTRY = {
    "fgsm": "sparring.attacks.fgsm:FGSM",
    "pgd": "sparring.attacks.pgd:PGD",
    "mifgsm": "sparring.attacks.mifgsm:MIFGSM",
    "apgd": "sparring.attacks.apgd:APGD",
    "cosine_pgd": "sparring.attacks.cosine_pgd:CosinePGD",
    "constraint_relaxation": "sparring.attacks.constraint_relaxation:ConstraintRelaxation",
    "carlini_wagner": "sparring.attacks.carlini_wagner:CarliniWagner",
    "fab": "sparring.attacks.fab:FAB",
    "square": "sparring.attacks.square:Square",
    "hop_skip_jump": "sparring.attacks.hop_skip_jump:HopSkipJump",
}

_SHARED = ("sparring.attacks.attack:Attack",)
__all__ = ["REGISTRY", "available", *(home.partition(":")[2] for home in (*REGISTRY.values(), *_SHARED))]


def available() -> dict[str, type[Attack]]:
    """Every registered attack by name; call a class without arguments for its defaults."""
    return {name: loaded(home) for name, home in REGISTRY.items()}


def __getattr__(name: str) -> Any:
    return found(__name__, name, (*REGISTRY.values(), *_SHARED))


def __dir__() -> list[str]:
    return sorted(__all__)

"""sparring: what an adversary can do to your PyTorch classifier, measured honestly.

Public names are resolved on first use (PEP 562), so that `sparring --help` needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sparring.attacks import REGISTRY as _ATTACKS

__version__ = "0.1.0"

_HOMES = {
    "Model": "sparring.model",
    "L0": "sparring.threats",
    "L1": "sparring.threats",
    "L2": "sparring.threats",
    "Linf": "sparring.threats",
    "Outcome": "sparring.problem",
    "audit": "sparring.auditing",
    "evaluate": "sparring.evaluation",
    "merge": "sparring.evaluation",
    "train": "sparring.training",
    "InputError": "sparring.errors",
    "MissingExtra": "sparring.errors",
    "ModelError": "sparring.errors",
    "ResumeError": "sparring.errors",
    "SparringError": "sparring.errors",
    **{home.partition(":")[2]: home.partition(":")[0] for home in _ATTACKS.values()},
}
_MODULES = ("attacks", "defenses", "flash", "objectives", "threats")

__all__ = ["__version__", *_HOMES, *_MODULES]

if TYPE_CHECKING:
    from sparring import attacks as attacks
    from sparring import defenses as defenses
    from sparring import flash as flash
    from sparring import objectives as objectives
    from sparring import threats as threats
    from sparring.attacks.apgd import APGD as APGD
    from sparring.attacks.carlini_wagner import CarliniWagner as CarliniWagner
    from sparring.attacks.constraint_relaxation import ConstraintRelaxation as ConstraintRelaxation
    from sparring.attacks.cosine_pgd import CosinePGD as CosinePGD
    from sparring.attacks.fab import FAB as FAB
    from sparring.attacks.fgsm import FGSM as FGSM
    from sparring.attacks.hop_skip_jump import HopSkipJump as HopSkipJump
    from sparring.attacks.mifgsm import MIFGSM as MIFGSM
    from sparring.attacks.pgd import PGD as PGD
    from sparring.attacks.square import Square as Square
    from sparring.auditing import audit as audit
    from sparring.errors import InputError as InputError
    from sparring.errors import MissingExtra as MissingExtra
    from sparring.errors import ModelError as ModelError
    from sparring.errors import ResumeError as ResumeError
    from sparring.errors import SparringError as SparringError
    from sparring.evaluation import evaluate as evaluate
    from sparring.evaluation import merge as merge
    from sparring.model import Model as Model
    from sparring.problem import Outcome as Outcome
    from sparring.threats import L0 as L0
    from sparring.threats import L1 as L1
    from sparring.threats import L2 as L2
    from sparring.threats import Linf as Linf
    from sparring.training import train as train


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"sparring.{name}")
    raise AttributeError(f"module 'sparring' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""The defenses: small frozen values that say what a network learns from. One defense, one registry line.

They add and scale, TRADES() + 0.1 * InputGradient(), and AWP wraps one. `sp.train` trains with them.
"""

from __future__ import annotations

from sparring.defenses.adversarial import AdversarialTraining
from sparring.defenses.awp import AWP
from sparring.defenses.context import Context
from sparring.defenses.curvature import CURE
from sparring.defenses.defense import Defense, Learner
from sparring.defenses.distillation import Distillation
from sparring.defenses.free import FreeAT
from sparring.defenses.grad_align import GradAlign
from sparring.defenses.hat import HAT
from sparring.defenses.input_gradient import InputGradient
from sparring.defenses.jacobian import Jacobian
from sparring.defenses.liet import LIET
from sparring.defenses.local_linearity import LocalLinearity
from sparring.defenses.logit_pairing import LogitPairing
from sparring.defenses.mart import MART
from sparring.defenses.robust_distillation import ARD, RobustDistillation
from sparring.defenses.single_step import FGSMRS, NFGSM
from sparring.defenses.standard import Standard
from sparring.defenses.trades import TRADES

REGISTRY: dict[str, type[Defense]] = {
    "standard": Standard,
    "adversarial_training": AdversarialTraining,
    "trades": TRADES,
    "mart": MART,
    "hat": HAT,
    "awp": AWP,
    "free_at": FreeAT,
    "fgsm_rs": FGSMRS,
    "n_fgsm": NFGSM,
    "liet": LIET,
    "grad_align": GradAlign,
    "input_gradient": InputGradient,
    "jacobian": Jacobian,
    "local_linearity": LocalLinearity,
    "cure": CURE,
    "logit_pairing": LogitPairing,
    "distillation": Distillation,
    "robust_distillation": RobustDistillation,
    "ard": ARD,
}

__all__ = [
    "ARD",
    "AWP",
    "CURE",
    "FGSMRS",
    "HAT",
    "LIET",
    "MART",
    "NFGSM",
    "REGISTRY",
    "TRADES",
    "AdversarialTraining",
    "Context",
    "Defense",
    "Distillation",
    "FreeAT",
    "GradAlign",
    "InputGradient",
    "Jacobian",
    "Learner",
    "LocalLinearity",
    "LogitPairing",
    "RobustDistillation",
    "Standard",
    "available",
]


def available() -> dict[str, type[Defense]]:
    """Every registered defense by name; call a class without arguments for its defaults."""
    return dict(REGISTRY)

"""The defenses: small frozen values that say what a network learns from. One defense is one registry line.

They add and scale, TRADES() + 0.1 * InputGradient(), and AWP wraps one. `sp.train` trains with them. The transforms,
which wrap a model as it is, Quantize(3)(model), have a registry of their own. Classes are imported on first use, so
that their names can be listed without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparring.registry import found, loaded

if TYPE_CHECKING:
    from sparring.defenses.adversarial import AdversarialTraining as AdversarialTraining
    from sparring.defenses.awp import AWP as AWP
    from sparring.defenses.context import Context as Context
    from sparring.defenses.curvature import CURE as CURE
    from sparring.defenses.defense import Defense as Defense
    from sparring.defenses.defense import Learner as Learner
    from sparring.defenses.distillation import Distillation as Distillation
    from sparring.defenses.free import FreeAT as FreeAT
    from sparring.defenses.grad_align import GradAlign as GradAlign
    from sparring.defenses.hat import HAT as HAT
    from sparring.defenses.input_gradient import InputGradient as InputGradient
    from sparring.defenses.jacobian import Jacobian as Jacobian
    from sparring.defenses.liet import LIET as LIET
    from sparring.defenses.local_linearity import LocalLinearity as LocalLinearity
    from sparring.defenses.logit_pairing import LogitPairing as LogitPairing
    from sparring.defenses.mart import MART as MART
    from sparring.defenses.masking.activations import KWinners as KWinners
    from sparring.defenses.masking.activations import MeanSparse as MeanSparse
    from sparring.defenses.masking.jpeg import JPEG as JPEG
    from sparring.defenses.masking.noise import GaussianNoise as GaussianNoise
    from sparring.defenses.masking.noise import GradientNoise as GradientNoise
    from sparring.defenses.masking.quantize import Quantize as Quantize
    from sparring.defenses.masking.resize_pad import ResizePad as ResizePad
    from sparring.defenses.masking.scores import OutputRounding as OutputRounding
    from sparring.defenses.masking.scores import ReverseSigmoid as ReverseSigmoid
    from sparring.defenses.masking.scores import Temperature as Temperature
    from sparring.defenses.masking.smoothing import MedianSmoothing as MedianSmoothing
    from sparring.defenses.masking.smoothing import TVSmoothing as TVSmoothing
    from sparring.defenses.masking.thermometer import Thermometer as Thermometer
    from sparring.defenses.masking.transform import Transform as Transform
    from sparring.defenses.robust_distillation import ARD as ARD
    from sparring.defenses.robust_distillation import RobustDistillation as RobustDistillation
    from sparring.defenses.single_step import FGSMRS as FGSMRS
    from sparring.defenses.single_step import NFGSM as NFGSM
    from sparring.defenses.standard import Standard as Standard
    from sparring.defenses.trades import TRADES as TRADES

REGISTRY = {
    "standard": "sparring.defenses.standard:Standard",
    "adversarial_training": "sparring.defenses.adversarial:AdversarialTraining",
    "trades": "sparring.defenses.trades:TRADES",
    "mart": "sparring.defenses.mart:MART",
    "hat": "sparring.defenses.hat:HAT",
    "awp": "sparring.defenses.awp:AWP",
    "free_at": "sparring.defenses.free:FreeAT",
    "fgsm_rs": "sparring.defenses.single_step:FGSMRS",
    "n_fgsm": "sparring.defenses.single_step:NFGSM",
    "liet": "sparring.defenses.liet:LIET",
    "grad_align": "sparring.defenses.grad_align:GradAlign",
    "input_gradient": "sparring.defenses.input_gradient:InputGradient",
    "jacobian": "sparring.defenses.jacobian:Jacobian",
    "local_linearity": "sparring.defenses.local_linearity:LocalLinearity",
    "cure": "sparring.defenses.curvature:CURE",
    "logit_pairing": "sparring.defenses.logit_pairing:LogitPairing",
    "distillation": "sparring.defenses.distillation:Distillation",
    "robust_distillation": "sparring.defenses.robust_distillation:RobustDistillation",
    "ard": "sparring.defenses.robust_distillation:ARD",
}
TRANSFORMS = {
    "quantize": "sparring.defenses.masking.quantize:Quantize",
    "jpeg": "sparring.defenses.masking.jpeg:JPEG",
    "median_smoothing": "sparring.defenses.masking.smoothing:MedianSmoothing",
    "tv_smoothing": "sparring.defenses.masking.smoothing:TVSmoothing",
    "thermometer": "sparring.defenses.masking.thermometer:Thermometer",
    "resize_pad": "sparring.defenses.masking.resize_pad:ResizePad",
    "gaussian_noise": "sparring.defenses.masking.noise:GaussianNoise",
    "gradient_noise": "sparring.defenses.masking.noise:GradientNoise",
    "k_winners": "sparring.defenses.masking.activations:KWinners",
    "mean_sparse": "sparring.defenses.masking.activations:MeanSparse",
    "output_rounding": "sparring.defenses.masking.scores:OutputRounding",
    "reverse_sigmoid": "sparring.defenses.masking.scores:ReverseSigmoid",
    "temperature": "sparring.defenses.masking.scores:Temperature",
}
_SHARED = (
    "sparring.defenses.context:Context",
    "sparring.defenses.defense:Defense",
    "sparring.defenses.defense:Learner",
    "sparring.defenses.masking.transform:Transform",
)
_HOMES = (*REGISTRY.values(), *TRANSFORMS.values(), *_SHARED)
__all__ = ["REGISTRY", "TRANSFORMS", "available", "transforms", *(home.partition(":")[2] for home in _HOMES)]


def available() -> dict[str, type[Defense]]:
    """Every registered defense by name; call a class without arguments for its defaults."""
    return {name: loaded(home) for name, home in REGISTRY.items()}


def transforms() -> dict[str, type[Transform]]:
    """Every registered transform of a model by name; call a class without arguments for its defaults."""
    return {name: loaded(home) for name, home in TRANSFORMS.items()}


def __getattr__(name: str) -> Any:
    return found(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)

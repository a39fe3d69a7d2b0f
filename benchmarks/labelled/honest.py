"""The entries we expect to be honest: weak or strong, their gradients say what an attacker can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

import sparring as sp
from benchmarks.labelled import fronts, wrappers
from benchmarks.labelled.bases import halves, trained
from benchmarks.labelled.entry import Entry, Knows, beside, digits, inside, nothing, through
from benchmarks.labelled.masked import FAR, L2, MID, NATURAL, NEAR, ROBUST, around, back, behind, swapped


def _as_trained(name: str) -> Callable[[int], nn.Module]:
    return lambda seed: trained(name, seed)


def _entry(family: str, make: Callable[[int], nn.Module], threat: Any, knows: Knows = nothing, **more: Any) -> Entry:
    return Entry(family, "honest", threat, make, knows, **more)


def _halved() -> Any:
    return digits(halves)


def _averaged(seed: int) -> nn.Module:
    return sp.Model(wrappers.Noisy(trained("noise-augmented", seed)), eot=16)


HONEST = {
    "natural": _entry("natural", _as_trained(NATURAL), NEAR),
    "natural, L2": _entry("natural", _as_trained(NATURAL), sp.L2(0.5)),
    "natural, L∞ 0.15": _entry("natural", _as_trained(NATURAL), MID),
    "MLP": _entry("natural", _as_trained("mlp"), NEAR),
    "tanh, average pooling": _entry("natural", _as_trained("tanh"), NEAR),
    "GELU, BatchNorm": _entry("natural", _as_trained("gelu"), NEAR),
    "Softplus MLP": _entry("natural", _as_trained("softplus"), sp.L2(0.5)),
    "softmax regression": _entry("natural", _as_trained("linear"), NEAR),
    "normalised inside": _entry("natural", _as_trained("centred"), NEAR),
    "two classes": _entry("natural", _as_trained("halves"), NEAR, data=_halved),
    "one logit": _entry("natural", _as_trained("one-logit"), NEAR, data=_halved),
    "PGD-AT": _entry("adversarial training", _as_trained(ROBUST), FAR),
    "PGD-AT, L∞ 0.1": _entry("adversarial training", _as_trained(ROBUST), NEAR),
    "PGD-AT, hopeless": _entry("adversarial training", _as_trained(ROBUST), sp.Linf(0.4)),
    "PGD-AT, trained in L2": _entry("adversarial training", _as_trained("pgd-at-l2"), L2),
    "PGD-AT, GELU": _entry("adversarial training", _as_trained("gelu-at"), MID),
    "PGD-AT, MLP": _entry("adversarial training", _as_trained("mlp-at"), MID),
    "PGD-AT, two classes": _entry("adversarial training", _as_trained("halves-at"), MID, data=_halved),
    "free AT": _entry("adversarial training", _as_trained("free"), MID),
    "AWP": _entry("adversarial training", _as_trained("awp"), FAR),
    "TRADES": _entry("TRADES", _as_trained("trades"), FAR),
    "MART": _entry("MART", _as_trained("mart"), FAR),
    "TRADES, L∞ 0.15": _entry("TRADES", _as_trained("trades"), MID),
    "MART, L∞ 0.15": _entry("MART", _as_trained("mart"), MID),
    "N-FGSM": _entry("single-step training", _as_trained("n-fgsm"), MID),
    "label smoothing 0.3": _entry("label smoothing", _as_trained("smoothed-labels"), NEAR),
    "input gradient": _entry("penalty", _as_trained("input-gradient"), NEAR),
    "Jacobian": _entry("penalty", _as_trained("jacobian"), L2),
    "Jacobian, L2 0.5": _entry("penalty", _as_trained("jacobian"), sp.L2(0.5)),
    "local linearity": _entry("penalty", _as_trained("local-linearity"), MID),
    "noise-augmented": _entry("noise training", _as_trained("noise-augmented"), MID),
    "averaged over noise": _entry("noise training", _averaged, MID),
    "rounding, straight through": _entry(
        "straight through", behind(lambda: fronts.StraightThrough(3), NATURAL), NEAR, through()
    ),
    "rounding to 8 bits, straight through": _entry(
        "straight through", behind(lambda: fronts.StraightThrough(8), ROBUST), FAR, through()
    ),
    "rounding, trained straight through": _entry("straight through", _as_trained("ste-trained"), MID, through()),
    "quantised activations, a leak": _entry(
        "straight through", swapped(nn.ReLU, NATURAL, lambda: wrappers.Quantised(leak=1e-3)), MID,
        back(wrappers.Quantised),
    ),
    "blur": _entry("smooth front", behind(fronts.Blur, NATURAL), NEAR),
    "probabilities": _entry("output scale", around(wrappers.Probabilities, NATURAL), NEAR, beside(inside)),
    "logits x 0.01": _entry("output scale", around(wrappers.Scaled, NATURAL, 0.01), NEAR, beside(inside)),
    "logits x 3, AT": _entry("output scale", around(wrappers.Scaled, ROBUST, 3.0), MID, beside(inside)),
}  # fmt: skip

"""The entries we expect to be masked by sparring's own transforms, which say what to differentiate instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

import sparring as sp
from benchmarks.labelled.bases import trained
from benchmarks.labelled.entry import Entry, Knows, beside, every, smoothed
from benchmarks.labelled.masked import FAR, L2, MID, NATURAL, NEAR, ROBUST
from sparring import defenses as d
from sparring.data import load


def knowing(net: nn.Module) -> Sequence[sp.Model]:
    """The model as sparring itself sees it with the knowledge of its transforms."""
    return (sp.Model.of(net).adaptive(6),)


def undefended(net: Any) -> nn.Module:
    """The network behind all transforms."""
    while isinstance(net, sp.Model) or hasattr(net, "inner"):
        net = net.net if isinstance(net, sp.Model) else net.inner
    assert isinstance(net, nn.Module)
    return net


def wrapped(base: str, *transforms: d.Transform) -> Callable[[int], nn.Module]:
    """A trained network behind transforms, the last one outermost."""

    def make(seed: int) -> nn.Module:
        net = trained(base, seed)
        for transform in transforms:
            net = transform(net)
        return net

    return make


def sparse(seed: int) -> nn.Module:
    return d.MeanSparse(load("digits", split="train").x, 0.6)(trained(ROBUST, seed))


def _entry(family: str, make: Callable[[int], nn.Module], threat: Any, knows: Knows = knowing, **more: Any) -> Entry:
    return Entry(family, "masked", threat, make, knows, foreign=False, **more)


straight = beside(undefended)

TRANSFORMED = {
    "Quantize(3), L2": _entry("rounding", wrapped(NATURAL, d.Quantize(3)), L2),
    "Quantize(2), AT": _entry("rounding", wrapped(ROBUST, d.Quantize(2)), MID),
    "JPEG(75)": _entry("compression", wrapped(NATURAL, d.JPEG(75)), NEAR, slow=True),
    "TVSmoothing": _entry("smoothing", wrapped(NATURAL, d.TVSmoothing()), NEAR, slow=True),
    "Quantize(3), MedianSmoothing, AT": _entry(
        "smoothing", wrapped(ROBUST, d.Quantize(3), d.MedianSmoothing()), MID, every(knowing, straight)
    ),
    "Thermometer, trained": _entry("thermometer", lambda seed: trained("Thermometer", seed), NEAR),
    "Temperature(0.002)": _entry("saturation", wrapped(NATURAL, d.Temperature(0.002)), NEAR),
    "Temperature(0.002), AT": _entry("saturation", wrapped(ROBUST, d.Temperature(0.002)), FAR),
    "GradientNoise, AT": _entry("noisy backward", wrapped(ROBUST, d.GradientNoise()), FAR),
    "GradientNoise(10)": _entry("noisy backward", wrapped(NATURAL, d.GradientNoise(10.0)), MID),
    "KWinners(0.2)": _entry(
        "discontinuous activations", wrapped(NATURAL, d.KWinners(0.2)), NEAR,
        every(smoothed(0.03), smoothed(0.08)),
    ),
    "MeanSparse, AT": _entry("discontinuous activations", sparse, FAR),
    "ResizePad": _entry("random", wrapped(NATURAL, d.ResizePad(0.8)), NEAR, every(knowing, straight)),
    "GaussianNoise(0.2)": _entry("random", wrapped(NATURAL, d.GaussianNoise(0.2)), MID, every(knowing, straight)),
    "GaussianNoise(0.1), Quantize(2), AT": _entry("random", wrapped(ROBUST, d.Quantize(2), d.GaussianNoise(0.1)), MID),
    "OutputRounding(1), AT": _entry("hard output", wrapped(ROBUST, d.OutputRounding(1)), FAR),
    "ReverseSigmoid": _entry("misleading output", wrapped(NATURAL, d.ReverseSigmoid()), NEAR),
}  # fmt: skip

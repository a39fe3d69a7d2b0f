"""The foreign entries we expect to be masked: gradients that are absent, shattered, wrong, or a matter of luck."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

import sparring as sp
from benchmarks.labelled import fronts, wrappers
from benchmarks.labelled.bases import fronted, trained
from benchmarks.labelled.entry import Entry, Knows, averaged, beside, every, inside, smoothed, through, untrained
from sparring.data import load

NEAR, MID, FAR = sp.Linf(0.1), sp.Linf(0.15), sp.Linf(0.2)
L2 = sp.L2(0.75)
NATURAL, ROBUST = "natural", "pgd-at"


def behind(front: Callable[[], nn.Module], base: str) -> Callable[[int], nn.Module]:
    """A front before a trained network."""
    return lambda seed: fronted(front(), trained(base, seed))


def around(wrapper: Callable[..., nn.Module], base: str, *arguments: Any) -> Callable[[int], nn.Module]:
    """A wrapper around a trained network."""
    return lambda seed: wrapper(trained(base, seed), *arguments)


def swapped(kind: type[nn.Module], base: str, make: Callable[[], nn.Module]) -> Callable[[int], nn.Module]:
    """Other activations in a trained network."""
    return lambda seed: wrappers.replaced(trained(base, seed), kind, make)


def back(kind: type[nn.Module], make: Callable[[], nn.Module] = nn.ReLU) -> Knows:
    """The gradient of the same weights with smoother activations."""
    return beside(lambda net: wrappers.replaced(net, kind, make))


def soft(net: Any) -> nn.Module:
    """A thermometer network with ramps instead of steps."""

    class Soft(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.coder, self.net = net.front, net.net

        def forward(self, x: Any) -> Any:
            return self.net(self.coder.soft(x))

    return Soft()


def noisy(sigma: float) -> Callable[[Any], nn.Module]:
    """What a vote over noise is a vote of."""
    return lambda net: sp.Model(wrappers.Noisy(net.net, sigma), eot=4)


def decoyed(seed: int) -> nn.Module:
    net = trained(NATURAL, seed)
    return wrappers.Decoy(net, untrained(trained(NATURAL, seed), seed + 100))


def sparse(seed: int) -> nn.Module:
    return wrappers.sparsified(trained(ROBUST, seed), load("digits", split="train").x, 1.0)


def dropping(seed: int) -> nn.Module:
    """Dropout goes on behind the convolutions and behind the first linear layer."""
    net = trained(NATURAL, seed)
    parts = list(net.children())
    return nn.Sequential(*parts[:-3], wrappers.TestDropout(0.5), *parts[-3:-1], wrappers.TestDropout(0.3), parts[-1])


def _entry(family: str, make: Callable[[int], nn.Module], knows: Knows, threat: Any = NEAR, **more: Any) -> Entry:
    return Entry(family, "masked", threat, make, knows, **more)


straight = beside(inside)
lucky = every(averaged(), beside(inside, eot=6))

MASKED = {
    "round 3 bits": _entry("rounding", behind(lambda: fronts.Round(3), NATURAL), through()),
    "round 2 bits, AT": _entry("rounding", behind(lambda: fronts.Round(2), ROBUST), through(), FAR),
    "round in forward": _entry("rounding", around(wrappers.RoundedInside, NATURAL), straight),
    "round in forward, AT": _entry("rounding", around(wrappers.RoundedInside, ROBUST), straight, MID),
    "quantised activations": _entry(
        "rounding", swapped(nn.ReLU, NATURAL, wrappers.Quantised), back(wrappers.Quantised), MID
    ),
    "JPEG by Pillow": _entry("compression", behind(fronts.PillowJpeg, NATURAL), through(), slow=True),
    "JPEG by Pillow, AT": _entry(
        "compression", behind(lambda: fronts.PillowJpeg(75), ROBUST), through(), MID, slow=True
    ),
    "total variation in NumPy": _entry(
        "smoothing", behind(fronts.NumpyTotalVariation, NATURAL), through(), slow=True
    ),
    "median and round": _entry("smoothing", behind(fronts.MedianRound, NATURAL), every(through(), straight)),
    "blur and round": _entry("smoothing", behind(fronts.BlurRound, NATURAL), through(fronts.Blur()), L2),
    "thermometer": _entry("thermometer", lambda seed: trained("thermometer", seed), beside(soft)),
    "thermometer, noise-augmented": _entry(
        "thermometer", lambda seed: trained("thermometer-noise", seed), beside(lambda net: soft(net.net)), MID
    ),
    "distilled, T = 100": _entry("saturation", lambda seed: trained("distilled", seed), beside()),
    "distilled, T = 40, MLP": _entry("saturation", lambda seed: trained("distilled-mlp", seed), beside(), L2),
    "logits x 1000": _entry("saturation", around(wrappers.Scaled, NATURAL, 1000.0), straight),
    "logits x 1000, AT": _entry("saturation", around(wrappers.Scaled, ROBUST, 1000.0), straight, FAR),
    "gradient noise by a hook": _entry("noisy backward", behind(fronts.HookNoise, NATURAL), straight, MID),
    "gradient noise by a function, AT": _entry("noisy backward", behind(fronts.NoisyBackward, ROBUST), straight, FAR),
    "gradient reversed": _entry("wrong backward", around(wrappers.Backwards, NATURAL), straight),
    "gradient half flipped, AT": _entry("wrong backward", behind(fronts.Flipped, ROBUST), straight, FAR),
    "gradient of a decoy": _entry("wrong backward", decoyed, straight),
    "gradient half detached": _entry("wrong backward", around(wrappers.HalfDetached, NATURAL, 2), straight, MID),
    "k-WTA": _entry(
        "discontinuous activations", lambda seed: trained("k-wta", seed),
        every(smoothed(0.03), smoothed(0.08), back(wrappers.WinnersTakeAll)),
    ),
    "k-WTA, AT": _entry(
        "discontinuous activations", lambda seed: trained("k-wta-at", seed),
        every(smoothed(0.03), smoothed(0.08), back(wrappers.WinnersTakeAll)), MID,
    ),
    "staircase activations": _entry(
        "discontinuous activations", swapped(nn.ReLU, NATURAL, wrappers.Staircase), back(wrappers.Staircase)
    ),
    "jump activations": _entry(
        "discontinuous activations", lambda seed: trained("jump", seed), every(smoothed(0.05), back(wrappers.Jump))
    ),
    "mean sparse, AT": _entry("discontinuous activations", sparse, back(wrappers.MeanSparse), FAR),
    "steep tanh activations": _entry(
        "saturating activations", lambda seed: trained("steep-tanh", seed),
        back(wrappers.SteepTanh, lambda: wrappers.SteepTanh(2.0)), MID,
    ),
    "binarised by a sigmoid": _entry(
        "saturating activations", behind(fronts.Steep, NATURAL), through(fronts.Steep(6.0)), MID
    ),
    "ripples": _entry("shattered", behind(fronts.Ripple, NATURAL), through()),
    "ripples, AT": _entry("shattered", behind(fronts.Ripple, ROBUST), through(), FAR),
    "resize and pad": _entry("random", lambda seed: trained("resize-pad", seed), averaged()),
    "input noise": _entry("random", behind(fronts.Noise, NATURAL), lucky, MID),
    "input noise, AT": _entry("random", behind(lambda: fronts.Noise(0.3), ROBUST), lucky, FAR),
    "pixel dropout": _entry("random", behind(fronts.PixelDropout, NATURAL), lucky),
    "dropout goes on": _entry("random", dropping, every(averaged(), beside(
        lambda net: wrappers.replaced(net, wrappers.TestDropout, nn.Identity), eot=6))),
    "dithering": _entry("random", behind(fronts.Dither, NATURAL), every(through(eot=6), beside(inside, eot=6))),
    "majority vote": _entry("hard output", around(wrappers.Majority, NATURAL), beside(inside, noisy(0.15), eot=2)),
    "hard label, AT": _entry("hard output", around(wrappers.HardLabel, ROBUST), straight, FAR),
    "rounded probabilities": _entry("hard output", around(wrappers.RoundedOutput, NATURAL), straight),
    "reverse sigmoid": _entry("misleading output", around(wrappers.ReverseSigmoid, NATURAL), straight),
    "FGSM-AT, collapsed": _entry(
        "collapse", lambda seed: trained("fgsm-collapsed", seed), beside(), sp.Linf(0.3), collapsed=True
    ),
    "FGSM-AT, collapsed, MLP": _entry(
        "collapse", lambda seed: trained("fgsm-collapsed-mlp", seed), beside(), sp.Linf(0.3), collapsed=True
    ),
}  # fmt: skip

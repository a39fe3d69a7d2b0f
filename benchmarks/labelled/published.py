"""Third-party networks, bare and behind foreign masks. Nothing is tuned on them; they are reported apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

import sparring as sp
from benchmarks import fixtures
from benchmarks.labelled import fronts, wrappers
from benchmarks.labelled.bases import fronted
from benchmarks.labelled.entry import IMAGES, Entry, Knows, beside, every, inside, nothing, smoothed, through
from benchmarks.labelled.masked import back

Factory = Callable[[], nn.Module]


def _mnist() -> tuple[Tensor, Tensor]:
    return fixtures.mnist(IMAGES)


def _cifar() -> tuple[Tensor, Tensor]:
    return fixtures.cifar(IMAGES)


# The factory, its images, and the radius it is measured at.
NETWORKS: dict[str, tuple[Factory, Callable[[], tuple[Tensor, Tensor]], float]] = {
    "MNIST TRADES": (fixtures.mnist_trades, _mnist, 0.3),
    "MNIST LeNet": (fixtures.mnist_lenet, _mnist, 0.1),
    "OVAL base": (fixtures.cifar_oval_base, _cifar, 2 / 255),
    "OVAL wide": (fixtures.cifar_oval_wide, _cifar, 2 / 255),
    "OVAL deep": (fixtures.cifar_oval_deep, _cifar, 8 / 255),
}


def _rounded(factory: Factory) -> nn.Module:
    return fronted(fronts.Round(3), factory())


def _compressed(factory: Factory) -> nn.Module:
    return fronted(fronts.PillowJpeg(75), factory())


def _scaled(factory: Factory) -> nn.Module:
    return wrappers.Scaled(factory(), 1000.0)


def _noisy(factory: Factory) -> nn.Module:
    return fronted(fronts.HookNoise(), factory())


def _winners(factory: Factory) -> nn.Module:
    return wrappers.replaced(factory(), nn.ReLU, lambda: wrappers.WinnersTakeAll(0.2))


MASKS: dict[str, tuple[str, Callable[[Factory], nn.Module], Knows]] = {
    "rounded to 3 bits": ("rounding", _rounded, through()),
    "JPEG by Pillow": ("compression", _compressed, through()),
    "logits x 1000": ("saturation", _scaled, beside(inside)),
    "gradient noise": ("noisy backward", _noisy, beside(inside)),
    "k-WTA": ("discontinuous activations", _winners, every(smoothed(0.03), back(wrappers.WinnersTakeAll))),
}


def _entries() -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for name, (factory, data, radius) in NETWORKS.items():
        threat = sp.Linf(radius)

        def bare(seed: int, factory: Factory = factory) -> nn.Module:
            return factory()

        found[name] = Entry("published", "honest", threat, bare, nothing, data=data)
        for mask, (family, make, knows) in MASKS.items():
            if mask == "k-WTA" and name == "MNIST LeNet":
                continue  # it has no ReLU modules to replace
            found[f"{name}, {mask}"] = Entry(
                family, "masked", threat, _made(make, factory), knows, data=data, slow=True
            )
    return found


def _made(make: Callable[[Factory], nn.Module], factory: Factory) -> Callable[[int], Any]:
    return lambda seed: partial(make, factory)()


PUBLISHED = _entries()

"""The trained networks of the labelled set: recipes on the embedded digits, kept on disk so that they train once.

A seed changes the initial weights, the order of learning and the width.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks.labelled.fronts import Center, Noise, ResizePad, StraightThrough, Thermometer
from benchmarks.labelled.wrappers import Around, Jump, SteepTanh, WinnersTakeAll
from sparring import defenses as d
from sparring.data import load
from sparring.training import OneCycle, TrainingAlarm
from sparring.training.optimizers import SGD, Adam

FOLDER = Path("runs/benchmarks/labelled")
WIDTHS = (16, 12, 20, 14)
LINF, L2 = sp.Linf(0.2), sp.L2(0.75)
CE, KL = sp.PGD(steps=5), sp.PGD(steps=5, objective="kl")
FIRM = SGD(0.1, 0.9, weight_decay=2e-3, nesterov=True)  # for learning from adversarial examples


def same(y: Tensor) -> Tensor:
    return y


def halves(y: Tensor) -> Tensor:
    """Below five, or not."""
    return (y >= 5).long()


@dataclass(frozen=True)
class Recipe:
    """A network by width, and how it learns; the repr names the file of its weights."""

    name: str
    build: Callable[[int], nn.Module] = field(repr=False)
    defense: d.Defense = d.Standard()  # noqa: RUF009 - frozen
    threat: Any = None
    epochs: int = 15
    optimizer: Any = Adam(3e-3)  # noqa: RUF009 - frozen
    smoothing: float = 0.0
    ema: float | None = None
    relabel: Callable[[Tensor], Tensor] = field(default=same, repr=False)

    def path(self, seed: int) -> Path:
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:8]
        return FOLDER / "weights" / f"{self.name}-{seed}-{digest}.safetensors"


def trained(name: str, seed: int) -> nn.Module:
    """The network of a recipe, from disk where it is there, in evaluation mode."""
    recipe = RECIPES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = recipe.build(WIDTHS[seed % len(WIDTHS)])
        path = recipe.path(seed)
        if not path.exists():
            net = _learned(recipe, net, seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            safetensors.torch.save_file(net.state_dict(), path)
        net.load_state_dict(safetensors.torch.load_file(path))
    return net.eval()


def _learned(recipe: Recipe, net: nn.Module, seed: int) -> nn.Module:
    train = load("digits", split="train")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingAlarm)
        return sp.train(
            net,
            (train.x, recipe.relabel(train.y)),
            recipe.defense,
            recipe.threat,
            epochs=recipe.epochs,
            seed=seed,
            schedule=OneCycle(),
            optimizer=recipe.optimizer,
            label_smoothing=recipe.smoothing,
            ema=recipe.ema,
        ).model


def conv(
    width: int,
    activation: Callable[[], nn.Module] = nn.ReLU,
    pool: Callable[[int], nn.Module] = nn.MaxPool2d,
    normalised: bool = False,
    channels: int = 1,
    size: int = 8,
    classes: int = 10,
) -> nn.Sequential:
    """Two convolutions, a pool, two linear layers; what stands between them may vary."""
    norms: list[list[nn.Module]] = [[nn.BatchNorm2d(w)] if normalised else [] for w in (width, 2 * width)]
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), *norms[0], activation(),
        nn.Conv2d(width, 2 * width, 3, padding=1), *norms[1], activation(),
        pool(2), nn.Flatten(),
        nn.Linear(2 * width * (size // 2) ** 2, 4 * width), activation(), nn.Linear(4 * width, classes),
    )  # fmt: skip


def mlp(width: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Three linear layers."""
    first, second = 8 * width, 4 * width
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, first), activation(), nn.Linear(first, second), activation(), nn.Linear(second, 10)
    )


def linear(width: int) -> nn.Sequential:
    """Softmax regression; the width says nothing."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


class Quiet(Around):
    """Noise on the input while learning only."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(Noise(0.25)(x) if self.training else x)


class OneLogit(Around):
    """Two classes as one number."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits[:, 1] - logits[:, 0]


def fronted(front: nn.Module, net: nn.Module) -> nn.Sequential:
    """A network behind a front, named `front` and `net`."""
    both = nn.Sequential()
    both.add_module("front", front)
    both.add_module("net", net)
    return both


def _recipes(*recipes: Recipe) -> dict[str, Recipe]:
    return {recipe.name: recipe for recipe in recipes}


RECIPES = _recipes(
    Recipe("natural", conv),
    Recipe("pgd-at", conv, d.AdversarialTraining(CE), LINF, 18, FIRM),
    # Honest ways of training.
    Recipe("mlp", mlp),
    Recipe("tanh", lambda width: conv(width, nn.Tanh, nn.AvgPool2d)),
    Recipe("gelu", lambda width: conv(width, nn.GELU, normalised=True)),
    Recipe("softplus", lambda width: mlp(width, nn.Softplus)),
    Recipe("linear", linear, epochs=20),
    Recipe("smoothed-labels", conv, smoothing=0.3),
    Recipe("centred", lambda width: fronted(Center(), conv(width))),
    Recipe("noise-augmented", lambda width: Quiet(conv(width))),
    Recipe("ste-trained", lambda width: fronted(StraightThrough(2), conv(width))),
    Recipe("halves", lambda width: conv(width, classes=2), relabel=halves),
    Recipe("one-logit", lambda width: OneLogit(conv(width, classes=2)), relabel=halves),
    Recipe("input-gradient", conv, d.InputGradient(), sp.Linf(0.1)),
    Recipe("jacobian", conv, d.Jacobian(), sp.Linf(0.1)),
    Recipe("local-linearity", conv, d.LocalLinearity(), sp.Linf(0.1), 12),
    Recipe("trades", conv, d.TRADES(attack=KL), LINF, 15, FIRM),
    Recipe("mart", conv, d.MART(attack=CE), LINF, 15, FIRM),
    Recipe("awp", conv, d.AWP(d.AdversarialTraining(CE), gamma=0.005, warmup=0.2), LINF, 15, FIRM),
    Recipe("n-fgsm", conv, d.NFGSM(noise=1.0), LINF, 25, FIRM),
    Recipe("free", conv, d.FreeAT(), LINF, 8, FIRM),
    Recipe("pgd-at-l2", conv, d.AdversarialTraining(CE), L2, 15, FIRM),
    Recipe("gelu-at", lambda width: conv(width, nn.GELU), d.AdversarialTraining(CE), LINF, 15, FIRM),
    Recipe("mlp-at", mlp, d.AdversarialTraining(CE), LINF, 20, FIRM),
    Recipe(
        "halves-at", lambda width: conv(width, classes=2), d.AdversarialTraining(CE), sp.Linf(0.1), 12,
        relabel=halves,
    ),
    # Networks that mask by how they are built or trained.
    Recipe("distilled", conv, d.Distillation(100.0), epochs=18, optimizer=Adam(1e-2)),
    Recipe("distilled-mlp", mlp, d.Distillation(40.0), epochs=18, optimizer=Adam(1e-2)),
    Recipe("thermometer", lambda width: fronted(Thermometer(), conv(width, channels=10))),
    Recipe("thermometer-noise", lambda width: Quiet(fronted(Thermometer(), conv(width, channels=10)))),
    Recipe("Thermometer", lambda width: d.Thermometer(8)(conv(width, channels=8))),
    Recipe("k-wta", lambda width: conv(width, lambda: WinnersTakeAll(0.1)), epochs=20),
    Recipe(
        "k-wta-at", lambda width: conv(width, lambda: WinnersTakeAll(0.15)),
        d.AdversarialTraining(CE), sp.Linf(0.1), 18,
    ),
    Recipe("jump", lambda width: conv(width, Jump, normalised=True)),
    Recipe("steep-tanh", lambda width: conv(width, lambda: SteepTanh(20.0), nn.AvgPool2d), epochs=20),
    Recipe("resize-pad", lambda width: fronted(ResizePad(), conv(width, size=12)), epochs=20),
    Recipe("fgsm-collapsed", conv, d.AdversarialTraining(sp.FGSM()), sp.Linf(0.3), 20, Adam(5e-3)),
    Recipe("fgsm-collapsed-mlp", mlp, d.AdversarialTraining(sp.FGSM()), sp.Linf(0.4), 20, Adam(5e-3)),
)  # fmt: skip

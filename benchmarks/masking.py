"""Claim: a masking defense looks strong under plain PGD and is worth nothing, or little, under its adaptive attack.

Digits: one SmallCNN, ten epochs, the first 200 test images; where a defense is trained (Thermometer, KWinners,
Distillation) so is its network, by the same recipe. MNIST, where the third-party networks are at hand: a natural one
and one of TRADES, the first 50 test images, fewer attacks.
Naive is PGD-40 on cross-entropy against the defended model as it stands; a dash says that there was no gradient at all.
Adaptive is what is left after every attack of a ladder on `model.adaptive()`, in order of their price; undefended is
the same ladder on the network without the defense. Randomised defenses answer with the mean over 8 draws in both, and
climb a shorter ladder.
Finished rows are kept in --out, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks.figures import sentence_of, table_of
from benchmarks.fixtures import Absent, mnist, mnist_lenet, mnist_trades
from benchmarks.measure import settings, table
from sparring import defenses as d
from sparring.attacks import Attack
from sparring.data import load
from sparring.errors import NoGradient
from sparring.evaluation import PLANS
from sparring.gradients import Smoothed
from sparring.training import OneCycle
from sparring.zoo import SmallCNN

DRAWS = 8
IMAGES = 200
NAIVE = sp.PGD()
QUICK = tuple(rung.attack for rung in PLANS["quick"]("linf"))
EVERY_CLASS = sp.PGD(objective="margin", n_targets=9)
SHORT = (sp.PGD(objective="margin"), sp.PGD(objective="margin", n_targets=3))
FULL = (sp.PGD(objective="margin"), *QUICK, sp.Square(queries=1000))


def trained(net: nn.Module, defense: d.Defense | None = None) -> nn.Module:
    """Ten epochs on digits, in four seconds."""
    return sp.train(net, "digits", defense or d.Standard(), epochs=10, lr=5e-3, schedule=OneCycle()).model


def on_digits() -> dict[str, Callable[[nn.Module], nn.Module]]:
    """The defended model, from a trained one."""
    x = load("digits", split="train").x
    wraps: list[d.Transform] = [
        d.Quantize(4), d.Quantize(3), d.Quantize(2), d.JPEG(75), d.JPEG(50), d.MedianSmoothing(), d.TVSmoothing(),
        d.ResizePad(0.9), d.GaussianNoise(0.1), d.GradientNoise(30.0), d.MeanSparse(x, 0.5),
        d.OutputRounding(2), d.ReverseSigmoid(), d.Temperature(0.01),
    ]  # fmt: skip
    return {
        **{repr(transform): transform for transform in wraps},
        "Thermometer(levels=16)": lambda net: trained(d.Thermometer(16)(SmallCNN(in_channels=16))),
        "KWinners(share=0.1)": lambda net: trained(d.KWinners(0.1)(SmallCNN())),
        "Distillation(100)": lambda net: trained(SmallCNN(), d.Distillation(100.0)),
    }


def on_mnist() -> dict[str, Callable[[nn.Module], nn.Module]]:
    """Those that need no training and no draws."""
    wraps: list[d.Transform] = [
        d.Quantize(3), d.Quantize(1), d.JPEG(75), d.TVSmoothing(), d.GradientNoise(30.0),
        d.OutputRounding(2), d.ReverseSigmoid(), d.Temperature(0.01),
    ]  # fmt: skip
    return {repr(transform): transform for transform in wraps}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument(
        "--only", nargs="+", choices=["digits", "lenet", "trades"], default=["digits", "lenet", "trades"]
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/masking.jsonl"))
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings(images=chosen.images, mnist_images=chosen.images // 4, threads=1, draws=DRAWS)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    book = Book(chosen.out)
    if "digits" in chosen.only:
        test = load("digits", split="test", limit=chosen.images)
        torch.manual_seed(0)
        measure(book, "digits", trained(SmallCNN()), on_digits(), (test.x, test.y), (0.05, 0.1, 0.15, 0.2), FULL)
    for name, make, eps in (("lenet", mnist_lenet, 0.1), ("trades", mnist_trades, 0.3)):
        if name in chosen.only:
            try:
                measure(book, name, make(), on_mnist(), mnist(chosen.images // 4), (eps,), SHORT)
            except Absent as absent:
                print(f"skipped: {name}: {absent}")


class Book:
    """Finished rows, a line each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def row(self, data: str, name: str, eps: float, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `make` gives, or gave."""
        key = {"data": data, "name": name, "eps": eps}
        for row in self.rows:
            if all(row[what] == value for what, value in key.items()):
                return row
        start = time.process_time()
        row = key | make() | {"seconds": time.process_time() - start}
        self.rows.append(row)
        with self.path.open("a") as file:
            print(json.dumps(row), file=file)
        print(row, flush=True)
        return row


def measure(
    book: Book,
    data: str,
    net: nn.Module,
    cases: dict[str, Callable[[nn.Module], nn.Module]],
    examples: tuple[Tensor, Tensor],
    radii: Sequence[float],
    ladder: Sequence[Attack],
) -> None:
    """Rows for every defense and radius, and a table of them."""
    made: dict[str, nn.Module] = {}

    def model(name: str) -> nn.Module:
        if name not in made:
            torch.manual_seed(0)
            made[name] = net if name == "undefended" else cases[name](net)
        return made[name]

    rows = []
    for name in ("undefended", *cases):
        found = [
            book.row(data, name, eps, lambda name=name, eps=eps: one(model(name), examples, eps, ladder))
            for eps in radii
        ]
        cells = [f"{percent(row['naive'])} → {percent(row['adaptive'])}" for row in found]
        rows.append((name if name == "undefended" else f"`{name}`", percent(found[0]["clean"]), *cells))
    header = ("defense", "clean", *(f"L∞ {eps:g}" for eps in radii))
    table(f"{data}: robust accuracy in %, naive → adaptive, {len(examples[0])} images", header, rows)
    if len(examples[0]) == (IMAGES if data == "digits" else IMAGES // 4):
        table_of(f"masking-{data}", header, rows, ("text", *("accuracy",) * (1 + len(radii))))
        if data == "digits":
            sentence_of("masking", summary(book), "accuracy")


def summary(book: Book, eps: float = 0.1) -> str:
    """What README shows: some transforms at one radius."""
    words = {
        "Quantize(bits=3)": "3-bit rounding",
        "JPEG(quality=75)": "JPEG",
        "GradientNoise(sigma=30.0)": "gradient noise",
        "Distillation(100)": "distillation",
        "Temperature(temperature=0.01)": "logits × 100",
        "undefended": "undefended",
    }
    found = {row["name"]: row for row in book.rows if (row["data"], row["eps"]) == ("digits", eps)}
    left = ((word, found[name]["naive"], found[name]["adaptive"]) for name, word in words.items())
    return ", ".join(f"{word} {percent(naive)} → {percent(adaptive)}" for word, naive, adaptive in left)


def one(net: nn.Module, examples: tuple[Tensor, Tensor], eps: float, ladder: Sequence[Attack]) -> dict[str, Any]:
    """Clean accuracy, what PGD leaves of the model as it stands, and what the ladder leaves of its adaptive view."""
    model = sp.Model.of(net)
    adaptive = model.adaptive(eot=DRAWS)
    if any(type(module).__name__ in ("Rounded", "Reversed") for module in model.modules()):
        ladder = (*ladder, EVERY_CLASS)  # their scores do not tell which class is the nearest
    if adaptive.eot > 1:
        ladder = SHORT
    try:
        naive = float(left(model.seen_by(eot=adaptive.eot), examples, eps, (NAIVE,)).float().mean())
    except NoGradient:
        naive = None
    clean = float((adaptive(examples[0]).argmax(1) == examples[1]).float().mean())
    standing = left(adaptive, examples, eps, ladder)
    if any(type(module).__name__ == "Winners" for module in model.modules()):
        smooth = adaptive.seen_by(gradients=Smoothed(samples=8, radius=0.2))
        standing &= left(smooth, examples, eps, (sp.PGD(objective="margin"),))
    return {"clean": clean, "naive": naive, "adaptive": float(standing.float().mean())}


def left(model: sp.Model, examples: tuple[Tensor, Tensor], eps: float, ladder: Sequence[Attack]) -> Tensor:
    """(N,) bool: the examples that withstand every attack, each of which is given what still stands."""
    x, y = examples
    standing = torch.ones(len(x), dtype=torch.bool)
    for attack in ladder:
        at = standing.nonzero().squeeze(1)
        if not len(at):
            break
        out = attack(model, x[at], y[at], sp.Linf(eps), index=at)
        standing[at[out.success]] = False
    return standing


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


if __name__ == "__main__":
    main()

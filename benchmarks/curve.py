"""Claim: one search for the accuracy at many radii costs much less than an evaluation at each, and says the same.

Passes an example, on the first 300 test digits; nine radii from 0 to the largest. Radius 0 needs no search.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import nn

import sparring as sp
from benchmarks.evaluation import natural, robust
from benchmarks.figures import table_of
from benchmarks.measure import settings, table
from sparring.data import load

RADII = 9
IMAGES = 300
CASES = (
    ("natural", natural, 16 / 255, "standard"),
    ("TRADES", robust, 0.24, "standard"),
    ("TRADES", robust, 0.24, "quick"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings(images=chosen.images, radii=RADII, threads=1)
    rows = [row(name, make(), largest, plan, chosen.images) for name, make, largest, plan in CASES]
    header = ("network", "radii", "plan", "separate", "shared", "accuracies that differ")
    table("Passes an example", header, rows)
    if chosen.images == IMAGES:
        table_of("curve", header, rows, ("text", "text", "text", "time", "time", "accuracy"))


def row(name: str, net: nn.Module, largest: float, plan: str, images: int) -> tuple[str, ...]:
    """One network and plan: what both ways cost, and at how many radii they say something else."""
    digits = load("digits", limit=images)
    whole = sp.evaluate(net, digits, sp.Linf(), plan, eps=f"0:{largest}:{RADII}")
    spent, differ = 0, 0
    for point in whole.curve:
        if point.eps == 0:
            continue
        alone = sp.evaluate(net, digits, sp.Linf(point.eps), plan)
        spent += alone.forwards + alone.backwards
        differ += alone.robust_accuracy != point.robust_accuracy
    shared = whole.forwards + whole.backwards
    each = (f"{passes / images:,.0f}" for passes in (spent, shared))
    return f"digits, {name}", f"0 to {largest:.3g}", f"`{plan}`", *each, f"{differ} of {RADII - 1}"


if __name__ == "__main__":
    main()

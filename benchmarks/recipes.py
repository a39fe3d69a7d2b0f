"""Claim: what the recipes on digits train, evaluated on the 500 test digits by the plan `quick`, seeds 0 and 1."""

from __future__ import annotations

import argparse
import time
import tomllib
from collections.abc import Sequence

import torch

import sparring as sp
from benchmarks.figures import table_of
from benchmarks.measure import settings, table
from sparring.data import load
from sparring.training.recipe import Recipe

RECIPES = ("digits-standard", "digits-at", "digits-trades", "digits-input-gradient", "digits-distillation")
RADII = (0.1, 0.2)
PLAN = "quick"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings(plan=PLAN, seeds=chosen.seeds, images=500, threads=1)
    rows = [row(name, chosen.seeds) for name in chosen.only]
    worst = (f"worst case at L∞ {radius:g}" for radius in RADII)
    header = ("recipe", "what is learned from", "clean", *worst, "seconds")
    table("Recipes on digits, one column a seed", header, rows)
    if chosen.only == list(RECIPES):
        table_of("recipes", header, rows, ("text", "text", *("accuracy",) * (1 + len(RADII)), "time"))


def row(name: str, seeds: Sequence[int]) -> tuple[str, ...]:
    """One recipe: its accuracies seed by seed, and the processor seconds that training took."""
    recipe, test = Recipe.read(name), load("digits", split="test")
    clean, worst, spent = [], {radius: [] for radius in RADII}, []  # type: ignore[var-annotated]
    for seed in seeds:
        start = time.process_time()
        net = sp.train(**(recipe.changed(seed=seed).arguments())).model
        spent.append(time.process_time() - start)
        for radius in RADII:
            result = sp.evaluate(net, test, sp.Linf(radius), PLAN)
            worst[radius].append(f"{100 * result.robust_accuracy:.1f}")
        clean.append(f"{100 * result.clean_accuracy:.1f}")
    about = tomllib.loads(recipe.toml()).get("about", "").removesuffix(" on the embedded digits")
    return f"`{name}`", about, ", ".join(clean), *(", ".join(one) for one in worst.values()), f"{spent[0]:.0f}"


if __name__ == "__main__":
    main()

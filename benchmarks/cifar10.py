"""Claim: the recipe cifar10-cpu trains on two cores within half an hour to 20 % worst case at L-infinity 8/255 or more.

All 50,000 training images; 1,000 test images under the strongest plan there is. The run is kept in --out and goes on
after an interruption.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch

import sparring as sp
from benchmarks.figures import sentence_of
from benchmarks.fixtures import Absent, find
from benchmarks.measure import settings, table
from sparring.data import load
from sparring.training.recipe import Recipe

PLAN = "quick"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="cifar10-cpu")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/cifar10-cpu"))
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    try:
        train, test = (find(f"data/cifar10_{split}_jpeg.npz") for split in ("train", "test"))
    except Absent as absent:
        print(f"skipped: {absent}")
        return
    settings(recipe=chosen.recipe, plan=PLAN, images=chosen.images, threads=chosen.threads)
    asked = Recipe.read(chosen.recipe).changed(data=str(train)).arguments()
    start, cpu = time.perf_counter(), time.process_time()
    trained = sp.train(**asked, out=chosen.out, progress=told)
    spent = f"{time.perf_counter() - start:.0f} s, {time.process_time() - cpu:.0f} s of processor time in this call"
    learning = sum(record["seconds"] for record in trained.history)
    result = sp.evaluate(trained.model, load(test, limit=chosen.images), asked["threat"], PLAN)
    low, high = result.interval
    verdict = "met" if result.robust_accuracy >= 0.2 else "NOT MET"
    row = (
        chosen.recipe, f"{result.clean_accuracy:.1%}", f"{result.robust_accuracy:.1%}", f"{low:.1%}–{high:.1%}",
        f"{learning / 60:.1f}", verdict,
    )  # fmt: skip
    header = ("recipe", "clean", "worst case", "95 % interval", "minutes learning", "≥ 20 %")
    table(f"CIFAR-10, {chosen.images} test images, L∞ 8/255 ({spent})", header, [row])
    print(result)
    if (chosen.recipe, chosen.images) == ("cifar10-cpu", 1000):
        words = f"{row[1]} clean, worst case {row[2]} ({row[3]}) on 1,000 test images".replace("%", " %")
        sentence_of("cifar10", words, "accuracy")
        sentence_of("cifar10-time", f"{learning / 60:.0f} minutes", "time")


def told(record: dict[str, float]) -> None:
    """A line an epoch."""
    if record["batch"] == record["batches"]:
        shown = ", ".join(f"{name} {value:.3f}" for name, value in record.items() if "accuracy" in name)
        print(f"epoch {record['epoch']:g}/{record['epochs']:g}: loss {record['loss']:.3f}, {shown}", flush=True)


if __name__ == "__main__":
    main()

"""Trains the labelled set and measures its labels: `python -m benchmarks.labelled`. Finished rows are kept."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.labelled import ENTRIES
from benchmarks.labelled.labels import labelled
from benchmarks.labelled.published import PUBLISHED
from benchmarks.labelled.store import LABELS, added, rows
from benchmarks.measure import table
from sparring.errors import SparringError


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=ENTRIES, default=list(ENTRIES))
    parser.add_argument("--again", action="store_true", help="measure what is there already too")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    failed: list[str] = []
    for seed in chosen.seeds:
        for name in chosen.only:
            try:
                measured(name, seed, chosen.again)
            except SparringError as error:
                failed.append(f"{name}, seed {seed}: {error}")
                print(f"failed: {failed[-1]}", flush=True)
    report(chosen.seeds)
    if failed:
        sys.exit("\n".join(failed))


def measured(name: str, seed: int, again: bool = False) -> dict[str, Any]:
    """The label of an entry and seed, from disk where it is there; the last line of a pair counts."""
    if not again and (name, seed) in (done := rows(LABELS)):
        return done[name, seed]
    row = {"name": name, "seed": seed, **labelled({**ENTRIES, **PUBLISHED}[name], seed)}
    added(LABELS, row)
    print(*(f"{key}={value}" for key, value in row.items() if key != "by"), flush=True)
    return row


def report(seeds: Sequence[int]) -> None:
    """The measured accuracies, seed by seed, and where they are not as expected."""
    done = rows(LABELS)
    lines = []
    for name, entry in ENTRIES.items():
        found = [done[name, seed] for seed in seeds if (name, seed) in done]
        cells = [f"{row['clean']:.2f} {row['naive']:.2f} {row['best']:.2f} {row['label'][0]}" for row in found]
        odd = sum(row["label"] != entry.expected for row in found)
        lines.append((name, entry.family, repr(entry.threat), entry.expected, odd or "", *cells))
    title = "Clean, naive and best accuracy, and the measured label (m, h), seed by seed"
    header = ("model", "family", "threat", "expected", "not so", *(f"seed {seed}" for seed in seeds))
    table(title, header, [(*line, *[""] * (len(header) - len(line))) for line in lines])


if __name__ == "__main__":
    main()

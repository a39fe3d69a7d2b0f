"""Claim: on masked models plan "standard" comes within a point of the best attack known for each, without a hint.

Every model of the labelled set that is expected to be masked is evaluated as a user would, `sp.evaluate(net, data,
threat, plan="standard")`, on the 200 images its label was measured on. The best known is the label's: the worst case of
every image over all attacks with full knowledge of the mask, each judged by the mean probability over 64 fresh draws at
its adversarial example, where the network is random. So is what the evaluation tells, by its last look. `again` looks
once more at its examples, on other draws: that some then stand which fell before is chance, to which the best known,
the worst of many such looks, owes more.
Finished rows are kept in --out; a row belongs to a --version of the plan, so that a changed one is run anew.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

import sparring as sp
from benchmarks.figures import sentence_of
from benchmarks.labelled import Entry
from benchmarks.labelled.__main__ import measured
from benchmarks.labelled.bases import FOLDER
from benchmarks.labelled.entry import IMAGES
from benchmarks.labelled.labels import judged
from benchmarks.labelled.masked import MASKED
from benchmarks.labelled.store import added, rows
from benchmarks.labelled.transformed import TRANSFORMED
from benchmarks.measure import settings, table
from sparring.errors import ModelError

CASES: dict[str, Entry] = {**MASKED, **TRANSFORMED}
POINT = 0.01


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--plan", default="standard")
    parser.add_argument("--version", default="1", help="a name for the state of the plan")
    parser.add_argument("--again", action="store_true", help="evaluate anew what this version has evaluated already")
    parser.add_argument("--report", action="store_true", help="no more than the report of what is there")
    parser.add_argument("--rungs", action="store_true", help="also what every rung did")
    parser.add_argument("--out", type=Path, default=FOLDER / "evaluation.jsonl")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings(models=len(chosen.only), seeds=chosen.seeds, images=IMAGES, plan=chosen.plan, version=chosen.version)
    state = {"plan": chosen.plan, "version": chosen.version}
    for seed in chosen.seeds if not chosen.report else ():
        for name in chosen.only:
            if chosen.again or (name, seed) not in rows(chosen.out, **state):
                row = evaluated(CASES[name], seed, chosen.plan)
                added(chosen.out, {"name": name, "seed": seed, **state, **row})
                best = measured(name, seed)["best"]
                print(f"{name}, seed {seed}: {row['error'] or row['told']}, best known {best}", flush=True)
    done = rows(chosen.out, **state)
    found = [done[name, seed] for seed in chosen.seeds for name in chosen.only if (name, seed) in done]
    report(found)
    if chosen.rungs:
        _ladders(found)


def evaluated(entry: Entry, seed: int, plan: str) -> dict[str, Any]:
    """What the plan says of one model, and what every rung did."""
    net, (x, y) = entry.make(seed), entry.data()
    start = time.process_time()
    try:
        result = sp.evaluate(net, (x, y), entry.threat, plan, seed=seed)
    except ModelError as error:
        told = f"{type(error).__name__}: {error}"
        return {"error": told, "clean": _share(judged(net, x, y)), "seconds": round(time.process_time() - start, 1)}
    return {
        "error": "",
        "clean": result.clean_accuracy,
        "told": result.robust_accuracy,
        "stands": _share(judged(net, result.x, y)),
        "verdict": result.verdict,
        "rungs": _rungs(result),
        "forwards": int(result.block.forwards[:, :-1].sum()) / len(x),
        "backwards": int(result.block.backwards[:, :-1].sum()) / len(x),
        "checks": int((result.block.forwards + result.block.backwards)[:, -1].sum()) / len(x),
        "seconds": round(time.process_time() - start, 1),
    }


def _rungs(result: Any) -> dict[str, list[float]]:
    """By rung: images it took, images it broke, the share of its gradients that were exactly zero, passes."""
    block, found = result.block, {}
    for number, rung in enumerate(result.rungs, start=1):
        forwards, backwards = block.forwards[:, number], block.backwards[:, number]
        if not int(forwards.sum()):
            continue
        dead = int(block.zero_gradients[:, number].sum()) / max(1, int(backwards.sum()))
        broke = int((block.broken_by == number).sum())
        passes = int((forwards + backwards).sum())
        found[rung.name] = [int((forwards > 0).sum()), broke, round(dead, 3), passes]
    return found


def _share(which: torch.Tensor) -> float:
    return round(float(which.double().mean()), 4)


def report(found: Sequence[dict[str, Any]]) -> None:
    """A line a model, and how many are within a point."""
    lines, far = [], []
    for row in found:
        best = measured(row["name"], row["seed"])["best"]
        gap = None if row["error"] else row["told"] - best
        if gap is None or gap > POINT + 1e-9:
            far.append(row["name"])
        lines.append((row["name"], row["seed"], f"{row['clean']:.3f}", *_cells(row, best, gap)))
    lines.sort(key=lambda line: line[6] == "" or -float(line[6]))
    header = ("model", "seed", "clean", "told", "again", "best known", "gap", "verdict", "broken by", "passes", "s")
    table(f"Robust accuracy on {IMAGES} images; passes an image, the checks apart", header, lines)
    verdict = "met" if not far else "NOT MET"
    print(f"within a point of the best known or lower: {len(found) - len(far)} of {len(found)}: {verdict}")
    if len(found) == len(CASES):
        words = f"within a point of the best attack known, or below, on {len(found) - len(far)} of {len(found)}"
        sentence_of("evaluation-masked", words, "accuracy")
    if far:
        print("further away: " + "; ".join(far))


def _cells(row: dict[str, Any], best: float, gap: float | None) -> Iterable[str]:
    if gap is None:
        return "", "", f"{best:.3f}", "", row["error"][:40], "", "", f"{row['seconds']:.0f}"
    broke = ", ".join(f"{rung} {did[1]}" for rung, did in row["rungs"].items() if did[1])
    passes = f"{row['forwards']:.0f} + {row['backwards']:.0f} ({row['checks']:.0f})"
    accuracies = (f"{row['told']:.3f}", f"{row['stands']:.3f}", f"{best:.3f}", f"{gap:+.3f}")
    return *accuracies, row["verdict"], broke, passes, f"{row['seconds']:.0f}"


def _ladders(found: Sequence[dict[str, Any]]) -> None:
    lines = [
        (row["name"], rung, took, broke, f"{dead:.2f}", f"{passes / took:.0f}")
        for row in found
        for rung, (took, broke, dead, passes) in row.get("rungs", {}).items()
    ]
    table("What every rung did", ("model", "rung", "took", "broke", "zero gradients", "passes an image"), lines)


if __name__ == "__main__":
    main()

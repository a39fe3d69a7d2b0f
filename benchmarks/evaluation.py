"""Claim: plan "standard" is never above AutoAttack, A³ or conditional runs, at a fortieth of AutoAttack's passes.

On every network all plans and the authors' AutoAttack run one after another in one process and one thread, on the same
images as one batch; the limit is the same batch forward, and forward and backward, with nothing else. Seconds are the
processor's. A column is skipped where this version has no such plan, or the peer is not there. AutoAttack's passes are
counted around the network, its seven looks for warnings among them; a plan's by its own ledger, with the checks that
follow every plan and, in brackets, without. Finished rows are kept in --out, so an interrupted run goes on; a row
belongs to a --version of the plans.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks import peers
from benchmarks.autoattack import Case, Counting
from benchmarks.figures import Kind, sentence_of, table_of
from benchmarks.fixtures import (
    Absent,
    cifar,
    cifar_oval_base,
    cifar_oval_deep,
    cifar_oval_wide,
    correct,
    mnist,
    mnist_trades,
)
from benchmarks.measure import bare, settings, table
from sparring import defenses as d
from sparring.data import load
from sparring.evaluation import PLANS
from sparring.training import OneCycle, TrainingAlarm
from sparring.training.optimizers import SGD, Adam
from sparring.zoo import SmallCNN

PEER = "AutoAttack"
COLUMNS = (PEER, "autoattack", "cr", "a3", "standard")
COMPARED = (PEER, "cr", "a3", "standard")
SHARE = 1 / 40


def digits(limit: int) -> tuple[Tensor, Tensor]:
    """The first `limit` test digits, the embedded ones."""
    examples = load("digits", limit=limit)
    return examples.x, examples.y


def taught(defense: d.Defense, radius: float, epochs: int, optimizer: SGD | Adam) -> Callable[[], nn.Module]:
    """A small network that learns the digits, with seed 0, once."""

    @cache
    def net() -> nn.Module:
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TrainingAlarm)
            return sp.train(
                SmallCNN(),
                "digits",
                defense,
                sp.Linf(radius),
                epochs=epochs,
                seed=0,
                schedule=OneCycle(),
                optimizer=optimizer,
            ).model

    return net


FIRM = SGD(0.1, 0.9, weight_decay=2e-3, nesterov=True)
natural = taught(d.Standard(), 0.2, 15, Adam(3e-3))
robust = taught(d.TRADES(attack=sp.PGD(steps=5, objective="kl")), 0.2, 30, FIRM)
single = taught(d.AdversarialTraining(sp.FGSM()), 0.25, 15, Adam(5e-3))  # FGSM leaves 65 %, PGD 23 %, APGD 15 %


CASES = {
    "fgsm": Case(single, digits, "Linf", 0.25),
    "base 2": Case(cifar_oval_base, cifar, "Linf", 2 / 255),
    "wide 2": Case(cifar_oval_wide, cifar, "Linf", 2 / 255),
    "deep 2": Case(cifar_oval_deep, cifar, "Linf", 2 / 255),
    "base 8": Case(cifar_oval_base, cifar, "Linf", 8 / 255),
    "wide 8": Case(cifar_oval_wide, cifar, "Linf", 8 / 255),
    "deep 8": Case(cifar_oval_deep, cifar, "Linf", 8 / 255),
    "wide L2 0.25": Case(cifar_oval_wide, cifar, "L2", 0.25),
    "wide L2 0.5": Case(cifar_oval_wide, cifar, "L2", 0.5),
    "digits": Case(natural, digits, "Linf", 0.1),
    "digits L2": Case(natural, digits, "L2", 0.5),
    "digits TRADES": Case(robust, digits, "Linf", 0.2),
    "digits TRADES L2": Case(robust, digits, "L2", 0.75),
    "mnist": Case(mnist_trades, mnist, "Linf", 0.3),
}

# As the page names them.
TITLES = {
    "base 8": "base, L∞ 8/255",
    "wide 8": "wide, L∞ 8/255",
    "deep 8": "deep, L∞ 8/255",
    "base 2": "base, L∞ 2/255",
    "wide 2": "wide, L∞ 2/255",
    "deep 2": "deep, L∞ 2/255",
    "wide L2 0.25": "wide, L2 0.25",
    "wide L2 0.5": "wide, L2 0.5",
    "digits": "natural, L∞ 0.1",
    "digits L2": "natural, L2 0.5",
    "digits TRADES": "TRADES, L∞ 0.2",
    "fgsm": "trained with FGSM, L∞ 0.25",
    "digits TRADES L2": "TRADES, L2 0.75",
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=100, help="images of each case")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--plans", nargs="+", default=COLUMNS, help=f"{PEER} is the authors' code, the others plans")
    parser.add_argument("--seed", type=int, default=0, help="of the plans; AutoAttack's is 0")
    parser.add_argument("--version", default="1", help="a name for the state of the plans")
    parser.add_argument("--again", action="store_true", help="run anew what is there already")
    parser.add_argument("--report", action="store_true", help="no more than the report of what is there")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/evaluation.jsonl"))
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings(limit=chosen.limit, seed=chosen.seed, version=chosen.version, threads=1)
    book = Book(chosen.out, chosen.again)
    columns = [column for column in chosen.plans if column == PEER or column in PLANS]
    for column in chosen.plans:
        if column not in columns:
            print(f"skipped: there is no plan {column!r}")
    for name in chosen.only:
        for column in columns if not chosen.report else ():
            version = "" if column == PEER else chosen.version
            key = {"case": name, "column": column, "limit": chosen.limit, "seed": chosen.seed, "version": version}
            try:
                book.row(key, partial(measured, CASES[name], column, chosen.limit, chosen.seed))
            except Absent as why:
                print(f"skipped: {name}, {column}: {why}", flush=True)
        report(name, [row for row in book.of(name, chosen) if row["column"] in columns])
    summary([row for name in chosen.only for row in book.of(name, chosen) if row["column"] in columns])


class Book:
    """Finished rows, a line each; the last of a key counts."""

    def __init__(self, path: Path, again: bool) -> None:
        self.path, self.again = path, again
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def row(self, key: dict[str, Any], make: Callable[[], dict[str, Any]]) -> None:
        """Adds what `make` gives, unless it is there."""
        if not self.again and any(all(row[what] == value for what, value in key.items()) for row in self.rows):
            return
        self.rows.append(key | make())
        with self.path.open("a") as file:
            print(json.dumps(self.rows[-1]), file=file)

    def of(self, case: str, chosen: argparse.Namespace) -> list[dict[str, Any]]:
        """The rows of a case, in the order of the columns."""
        wanted = {"case": case, "limit": chosen.limit, "seed": chosen.seed}
        found = [row for row in self.rows if all(row[what] == value for what, value in wanted.items())]
        last = {row["column"]: row for row in found if row["version"] in ("", chosen.version)}
        return [last[column] for column in chosen.plans if column in last]


def measured(case: Case, column: str, limit: int, seed: int) -> dict[str, Any]:
    """One column of one case, and the limit measured right after it."""
    net, (x, y) = case.net(), case.data(limit)
    net(x)  # trained or loaded before any clock starts
    if column == PEER:
        row = _official(net, case, x, y)
    else:
        start = time.process_time()
        result = sp.evaluate(net, (x, y), case.threat, plan=column, seed=seed, batch_size=len(x))
        took, block = time.process_time() - start, result.block
        checks = float(block.seconds[:, -1].sum()) / max(float(block.seconds.sum()), 1e-9)
        row = {
            "images": len(x),
            "clean": result.clean_accuracy,
            "robust": result.robust.tolist(),
            "forwards": [result.forwards, int(block.forwards[:, :-1].sum())],
            "backwards": [result.backwards, int(block.backwards[:, :-1].sum())],
            "seconds": [took, took * (1 - checks)],
            "verdict": result.verdict,
            "rungs": {one["name"]: one["broke"] for one in result.table if one["broke"]},
        }
    look = _processor(lambda: bare(net, x, y, 0, 1))
    return row | {"limit of": [look, _processor(lambda: bare(net, x, y, 1))]}


def _processor(call: Callable[[], object], repeats: int = 9) -> float:
    """The least processor seconds of a call."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def _official(net: nn.Module, case: Case, x: Tensor, y: Tensor) -> dict[str, Any]:
    counting = Counting(net)
    run = peers.autoattack(counting, case.norm, case.eps, "standard", batch=len(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        there = run(x, y)
        took = time.process_time() - start
    return {
        "images": len(x),
        "clean": float(correct(net, x, y).double().mean()),
        "robust": correct(net, there, y).tolist(),
        "forwards": [counting.forwards] * 2,
        "backwards": [counting.backwards] * 2,
        "seconds": [took] * 2,
        "verdict": "",
        "rungs": {},
    }


def report(name: str, found: Sequence[dict[str, Any]]) -> None:
    """A line a column, and the bare limit."""
    if not found:
        return
    case, images = CASES[name], found[0]["images"]
    peer = next((row for row in found if row["column"] == PEER), None)
    lines = []
    for row in found:
        look, both = row["limit of"]
        least = (both * row["backwards"][0] + look * (row["forwards"][0] - row["backwards"][0])) / images
        lines.append(
            (
                row["column"],
                f"{_share(row):.2%}",
                *(_counted(row[what]) for what in ("forwards", "backwards")),
                f"{row['seconds'][0]:.1f}",
                f"{least:.1f}",
                *(_times(peer, row, what) for what in ("passes", "seconds")),
                row["verdict"],
            )
        )
    look, both = (min(row["limit of"][at] for row in found) for at in (0, 1))
    title = f"{name}: {case.norm} {case.eps:.4g}, {images} images, clean {found[0]['clean']:.2%}"
    header = ("what", "robust", "forwards", "backwards", "s", "its passes bare, s", "fewer passes", "faster", "verdict")
    table(title, header, lines)
    print(f"one batch of {images}: forward {1e3 * look:.1f} ms, forward and backward {1e3 * both:.1f} ms")
    own = next((row for row in found if row["column"] == "standard"), {})
    for row in found if own else ():
        if row is not own:
            pairs = list(zip(own["robust"], row["robust"], strict=True))
            alone = sum(b and not a for a, b in pairs), sum(a and not b for a, b in pairs)
            print(f"broken by standard alone: {alone[0]}, by {row['column']} alone: {alone[1]}")


def summary(found: Sequence[dict[str, Any]]) -> None:
    """Is the claim met, network by network?"""
    cases = list(dict.fromkeys(row["case"] for row in found))
    above, spent, lines = [], {PEER: 0, "standard": 0}, []
    for name in cases:
        rows = {row["column"]: row for row in found if row["case"] == name}
        lines.append((name, *(f"{_share(rows[one]):.2%}" if one in rows else "" for one in COLUMNS), _fewer(rows)))
        if "standard" not in rows:
            continue
        above += [f"{name}: {one}" for one in rows if _share(rows[one]) < _share(rows["standard"]) - 1e-9]
        if PEER in rows:
            for column in spent:
                spent[column] += _passes(rows[column])
    if not lines:
        return
    table("Robust accuracy", ("case", *COLUMNS, "fewer passes"), lines)
    give(found)
    if spent["standard"]:
        print(f"standard is above: {'; '.join(above) or 'nothing'}: {'NOT MET' if above else 'met'}")
        share = spent["standard"] / spent[PEER]
        print(f"passes over all cases: 1/{1 / share:.1f} of AutoAttack's: {'met' if share <= SHARE else 'NOT MET'}")


def give(found: Sequence[dict[str, Any]]) -> None:
    """The tables of the page: networks with given weights, and those that are trained here, apart."""
    for trained in (False, True):
        cases = [name for name in TITLES if (CASES[name].net in (natural, robust, single)) is trained]
        rows = {name: {row["column"]: row for row in found if row["case"] == name} for name in cases}
        if all("standard" in columns for columns in rows.values()):
            kinds: list[Kind] = ["text", "accuracy", "time", "time"] if trained else ["text", "count", "count", "count"]
            lines = [(TITLES[name], *_own(columns["standard"])) for name, columns in rows.items()]
            header = ("network and threat", "robust", "forwards an image", "backwards an image")
            table_of(f"standard-{'digits' if trained else 'cifar'}", header, lines, kinds)
        if all(set(COMPARED) <= set(columns) for columns in rows.values()):
            kinds = ["text", *["accuracy"] * len(COMPARED), *["time"] * 4]
            passes = (f"{PEER}'s passes an image", "`standard`'s", "share", "of its time")
            header = ("network and threat", *COMPARED, *passes)
            lines = [(TITLES[name], *_beside(columns)) for name, columns in rows.items()]
            table_of(f"evaluation-{'digits' if trained else 'cifar'}", header, lines, kinds)
    mnist = [row for row in found if row["case"] == "mnist" and row["column"] == "standard" and row["images"] == 10_000]
    for row in mnist:
        words = f"{_percent(row)} % robust with {row['forwards'][0]:,} forwards and {row['backwards'][0]:,} backwards"
        sentence_of("evaluation-mnist", words, "count")


def _percent(row: dict[str, Any]) -> str:
    return f"{100 * _share(row):.2f}"


def _own(row: dict[str, Any]) -> tuple[str, ...]:
    return _percent(row), *(f"{row[what][0] / row['images']:,.1f}" for what in ("forwards", "backwards"))


def _beside(columns: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    peer, own = columns[PEER], columns["standard"]
    each = [f"{_passes(row) / row['images']:,.0f}" for row in (peer, own)]
    shares = (f"{100 * part:.1f} %" for part in (_passes(own) / _passes(peer), own["seconds"][0] / peer["seconds"][0]))
    return *(_percent(columns[column]) for column in COMPARED), *each, *shares


def _fewer(rows: dict[str, dict[str, Any]]) -> str:
    return _times(rows.get(PEER), rows["standard"], "passes") if "standard" in rows else ""


def _share(row: dict[str, Any]) -> float:
    return float(sum(row["robust"]) / row["images"])


def _passes(row: dict[str, Any], at: int = 0) -> int:
    return int(row["forwards"][at] + row["backwards"][at])


def _counted(both: Sequence[int]) -> str:
    return f"{both[0]:,}" + (f" ({both[1]:,})" if both[0] != both[1] else "")


def _times(peer: dict[str, Any] | None, row: dict[str, Any], what: str) -> str:
    """The peer's over the row's, with the checks and without."""
    if peer is None or row is peer:
        return "" if peer is None else "1"
    ratios = [_passes(peer) / _passes(row, at) if what == "passes" else peer[what][at] / row[what][at] for at in (0, 1)]
    return f"{ratios[0]:.1f} ({ratios[1]:.1f})"


if __name__ == "__main__":
    main()

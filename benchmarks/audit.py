"""Claim: the audit tells masked models from honest ones, at little more than the cost of an evaluation.

Every model of the labelled set, and AutoAttack's warnings beside it. Thresholds are tuned on seeds 0 and 1 and reported
on seeds 2 and 3. Finished rows are kept in --out; a row belongs to a --version of the audit, so that a changed one
is run anew under another name, or with --again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks import autoattack_rules
from benchmarks.audit_report import report
from benchmarks.fixtures import Absent
from benchmarks.labelled import ENTRIES, Entry
from benchmarks.labelled.__main__ import measured
from benchmarks.labelled.bases import FOLDER
from benchmarks.labelled.published import PUBLISHED
from benchmarks.labelled.store import added, rows
from benchmarks.measure import settings
from sparring.errors import NoGradient

WARNINGS = FOLDER / "autoattack.jsonl"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=[*ENTRIES, *PUBLISHED])
    parser.add_argument("--published", action="store_true", help="the third-party models instead, with seed 0")
    parser.add_argument("--version", default="1", help="a name for the state of the audit")
    parser.add_argument("--again", action="store_true", help="audit anew what this version has audited already")
    parser.add_argument("--without", nargs="+", choices=("audit", "warnings"), default=[])
    parser.add_argument("--report", action="store_true", help="no more than the report of what is there")
    parser.add_argument("--out", type=Path, default=FOLDER / "audit.jsonl")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    every = PUBLISHED if chosen.published else ENTRIES
    entries = {name: entry for name, entry in every.items() if not chosen.only or name in chosen.only}
    seeds = [0] if chosen.published else chosen.seeds
    settings(models=len(entries), seeds=seeds, images=200, threads=1, version=chosen.version)
    if not chosen.report:
        for seed in seeds:
            for name, entry in entries.items():
                try:
                    one(name, entry, seed, chosen)
                except Absent as why:
                    print(f"skipped: {name}: {why}", flush=True)
    report(entries, rows(chosen.out, version=chosen.version), rows(WARNINGS), seeds)


def one(name: str, entry: Entry, seed: int, chosen: argparse.Namespace) -> None:
    """Label, warnings and audit of one model, as far as they are not there yet."""
    label = measured(name, seed)["label"]
    if "warnings" not in chosen.without and (name, seed) not in rows(WARNINGS):
        start = time.process_time()
        fired = autoattack_rules.warnings(entry.make(seed), *entry.data(), entry.threat, seed)
        spent = round(time.process_time() - start, 1)
        added(WARNINGS, {"name": name, "seed": seed, "warnings": fired, "seconds": spent})
        print(f"{name}, seed {seed}, {label}; AutoAttack warns: {[rule for rule in fired if fired[rule]]}", flush=True)
    if "audit" in chosen.without:
        return
    if chosen.again or (name, seed) not in rows(chosen.out, version=chosen.version):
        row = audited(entry, seed)
        added(chosen.out, {"name": name, "seed": seed, "version": chosen.version, **row})
        flagged = [finding["name"] for finding in row["findings"] if finding["flagged"]]
        print(f"{name}, seed {seed}, {label}; audit: {row['verdict']}, {flagged}", flush=True)


def audited(entry: Entry, seed: int) -> dict[str, Any]:
    """The audit of one model, and how long it and an evaluation of the same images take."""
    net, (x, y) = entry.make(seed), entry.data()
    quick = evaluated(net, x, y, entry.threat, seed)
    start = time.process_time()
    audit = sp.audit(net, (x, y), entry.threat, seed=seed)
    spent = time.process_time() - start
    findings = [
        {"name": f.name, "statistic": f.statistic, "threshold": f.threshold, "flagged": bool(f.flagged)}
        for f in audit.findings
    ]
    row = {"verdict": audit.verdict, "naive": audit.naive, "adaptive": audit.adaptive, "findings": findings}
    return row | {"seconds": round(spent, 2), "quick": None if quick is None else round(quick, 2)}


def evaluated(net: nn.Module, x: Tensor, y: Tensor, threat: Any, seed: int) -> float | None:
    """Processor seconds of `sp.evaluate` with plan quick; None where there is no gradient to evaluate with."""
    start = time.process_time()
    try:
        sp.evaluate(net, (x, y), threat, "quick", seed=seed)
    except NoGradient:
        return None
    return time.process_time() - start


if __name__ == "__main__":
    main()

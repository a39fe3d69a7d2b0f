"""Claim: on digits every defense in the registry is worth what its row says, three seeds each.

One network, one-cycle, 60 epochs, batch 64, a moving average of 0.99; SGD 0.1 with weight decay 0.002 for training on
adversarial examples, Adam 0.003 for the penalties and for what is compared with them. Trained against L-infinity 0.2
(the penalties 0.1), attacks of 5 steps; evaluated by the strongest plan there is on the 500 test digits.
Finished rows are kept in --out, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import sparring as sp
from benchmarks.figures import table_of
from benchmarks.measure import settings, table
from sparring import defenses as d
from sparring.data import load
from sparring.training import OneCycle, TrainingAlarm
from sparring.training.optimizers import SGD, Adam
from sparring.zoo import SmallCNN

PLAN = "quick"
THREATS = {"L∞ 0.1": sp.Linf(0.1), "L∞ 0.2": sp.Linf(0.2), "L2 0.75": sp.L2(0.75)}
CE, KL = sp.PGD(steps=5), sp.PGD(steps=5, objective="kl")
CASES: dict[str, tuple[d.Defense, float, int]] = {  # the defense, the radius it trains at, epochs
    "Standard": (d.Standard(), 0.2, 60),
    "AdversarialTraining": (d.AdversarialTraining(CE), 0.2, 60),
    "AdversarialTraining, share 0.5": (d.AdversarialTraining(CE, share=0.5), 0.2, 60),
    "TRADES": (d.TRADES(attack=KL), 0.2, 60),
    "MART": (d.MART(attack=CE), 0.2, 60),
    "HAT": (d.HAT(attack=KL), 0.2, 60),
    "AWP(AdversarialTraining, 0.005)": (d.AWP(d.AdversarialTraining(CE), gamma=0.005, warmup=0.2), 0.2, 60),
    "AWP(TRADES, 0.005)": (d.AWP(d.TRADES(attack=KL), gamma=0.005, warmup=0.2), 0.2, 60),
    "FreeAT": (d.FreeAT(), 0.2, 15),
    "FGSMRS": (d.FGSMRS(), 0.2, 60),
    "NFGSM": (d.NFGSM(noise=1.0), 0.2, 60),
    "LIET": (d.LIET(), 0.2, 60),
    "GradAlign": (d.GradAlign(), 0.2, 60),
    "InputGradient": (d.InputGradient(), 0.1, 60),
    "Jacobian": (d.Jacobian(), 0.1, 60),
    "LocalLinearity": (d.LocalLinearity(), 0.1, 60),
    "CURE": (d.CURE(), 0.1, 60),
    "LogitPairing (weak)": (d.LogitPairing(attack=CE), 0.1, 60),
    "Distillation, T = 100": (d.Distillation(100.0), 0.2, 60),
    "RobustDistillation": (d.RobustDistillation(attack=KL), 0.2, 60),
    "ARD": (d.ARD(attack=CE), 0.2, 60),
}
ADAM = (
    "Standard",
    "InputGradient",
    "Jacobian",
    "LocalLinearity",
    "CURE",
    "LogitPairing (weak)",
    "Distillation, T = 100",
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/defenses.jsonl"))
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings(network="SmallCNN", plan=PLAN, seeds=chosen.seeds, images=500, threads=1)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in chosen.out.read_text().splitlines()] if chosen.out.exists() else []
    for seed in chosen.seeds:
        for name in chosen.only:
            if not any((row["name"], row["seed"]) == (name, seed) for row in done):
                done.append(one(name, seed))
                with chosen.out.open("a") as file:
                    print(json.dumps(done[-1]), file=file)
                print(done[-1], flush=True)
    report(done, chosen.seeds)


def one(name: str, seed: int) -> dict[str, Any]:
    """Train and evaluate one row; processor seconds, since others may use the machine."""
    defense, radius, epochs = CASES[name]
    torch.manual_seed(seed)
    net = SmallCNN()
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingAlarm)
        trained = sp.train(
            net,
            "digits",
            defense,
            sp.Linf(radius),
            epochs=epochs,
            seed=seed,
            schedule=OneCycle(),
            # The average would shrink the logits that distillation is about.
            ema=None if name.startswith("Distillation") else 0.99,
            optimizer=Adam(3e-3) if name in ADAM else SGD(0.1, 0.9, weight_decay=2e-3, nesterov=True),
        )
    spent = time.process_time() - start
    test = load("digits", split="test")
    row = {"name": name, "seed": seed, "seconds": spent, "alarms": trained.alarms, "epochs": epochs}
    for threat_name, threat in THREATS.items():
        result = sp.evaluate(trained.model, test, threat, PLAN, seed=seed)
        row |= {"clean": result.clean_accuracy, threat_name: [result.robust_accuracy, *result.interval]}
    return row


def report(done: list[dict[str, Any]], seeds: Sequence[int]) -> None:
    """Means over the seeds, with the smallest and the largest."""
    named = {name: [row for row in done if row["name"] == name and row["seed"] in seeds] for name in CASES}
    natural = {row["seed"]: row for row in named["Standard"]}
    epoch = statistics.mean(row["seconds"] / row["epochs"] for row in natural.values())
    rows = []
    for name, found in named.items():
        if not found:
            continue
        cells = [spread([row["clean"] for row in found])]
        cells += [spread([row[threat][0] for row in found]) for threat in THREATS]
        seconds = statistics.mean(row["seconds"] for row in found)
        alarms = sum(bool(row["alarms"]) for row in found)
        helps = [
            row["L∞ 0.1"][0] >= natural[row["seed"]]["L∞ 0.1"][0] + 0.05
            and row["L∞ 0.1"][1] > natural[row["seed"]]["L∞ 0.1"][2]
            for row in found
        ]
        note = f"{sum(helps)} of {len(found)}" if name != "Standard" else ""
        rows.append((name, *cells, f"{seconds:.0f}", f"{seconds / epoch:.0f}", note, alarms or ""))
    header = ("defense", "clean", *THREATS, "seconds", "natural epochs", "helps at L∞ 0.1", "alarms")
    accuracies = ("accuracy",) * (1 + len(THREATS))
    title = (
        f"Digits: accuracy in %, mean of {len(seeds)} seeds (least–most); worst case under plan {PLAN!r}. "
        "'Helps': at least 5 points over Standard of the same seed, 95 % intervals disjoint"
    )
    table(title, header, rows)
    if len(seeds) == 3 and len(rows) == len(CASES):
        shown = [row[:-1] for row in rows]  # the page says of alarms in words
        table_of("defenses", header[:-1], shown, ("text", *accuracies, "time", "time", "text"))


def spread(shares: Sequence[float]) -> str:
    """Mean, least and most, in per cent."""
    return f"{100 * statistics.mean(shares):.1f} ({100 * min(shares):.1f}–{100 * max(shares):.1f})"


if __name__ == "__main__":
    main()

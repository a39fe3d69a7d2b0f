"""Claim: two processes on two cores are at least 1.6 times as fast as one, and find the same to the last bit."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch

import sparring as sp
from benchmarks.figures import sentence_of
from benchmarks.measure import settings, table
from sparring.data import load
from sparring.zoo import SmallCNN

LEAST = 1.6
EPSILON = 0.2


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plan", default="standard")
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=25, help="examples a block: 20 blocks are dealt out evenly")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)  # in each of the processes
    chosen = parser.parse_args(arguments)
    if chosen.work is not None:
        _work(chosen)
        return
    settings(**{k: v for k, v in vars(chosen).items() if k != "work"}, threads="1 in every process")
    times: dict[str, list[float]] = {"one process": [], "two processes, a folder": [], "two processes, no folder": []}
    same = True
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        net = sp.train(
            SmallCNN(), "digits", sp.defenses.TRADES(attack=sp.PGD(steps=2, objective="kl")), sp.Linf(EPSILON), epochs=2
        ).model
        torch.save(net.state_dict(), root / "net.pt")
        for repeat in range(chosen.repeats):
            found = {}
            for name, own in times.items():
                work = root / f"{repeat} {name}"
                own.append(_run(work, 2 if "two" in name else 1, sys.argv[1:] if arguments is None else arguments))
                found[name] = safetensors.torch.load_file(work / "found.safetensors")
            first, *others = found.values()
            same &= all(torch.equal(first[key], other[key]) for other in others for key in first)
    base = statistics.median(times["one process"])
    rows = [
        (name, f"{statistics.median(own):.2f}", f"{min(own):.2f}", f"{base / statistics.median(own):.2f}")
        for name, own in times.items()
    ]
    table(f"Plan {chosen.plan}, {chosen.examples} digits, small CNN", ("what", "median s", "least s", "speed"), rows)
    speeds = [base / statistics.median(own) for name, own in times.items() if name != "one process"]
    print(f"at least {LEAST} × one process: {'met' if min(speeds) >= LEAST else 'NOT MET'}")
    print(f"the same to the last bit: {'met' if same else 'NOT MET'}")
    if (chosen.plan, chosen.examples) == ("standard", 500) and same:
        with_folder, without = speeds
        words = f"{with_folder:.2f} × as fast as one ({without:.2f} without a folder), the same to the last bit"
        sentence_of("sharding", words, "time")


def _run(work: Path, processes: int, arguments: Sequence[str]) -> float:
    """Seconds of the evaluation itself: not of starting Python, which no shard can share."""
    work.mkdir()
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launcher, "-m", "benchmarks.sharding", *arguments, "--work", str(work)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    return float(json.loads((work / "seconds.json").read_text()))


def _work(chosen: argparse.Namespace) -> None:
    """One evaluation, in each of the processes."""
    torch.set_num_threads(1)
    net = SmallCNN()
    net.load_state_dict(torch.load(chosen.work.parent / "net.pt"))
    digits = load("digits", limit=chosen.examples)
    threat = sp.Linf(EPSILON)
    # The first evaluation of a process imports and plans, which takes seconds, once, and is not to be shared.
    sp.evaluate(net.eval(), digits, threat, chosen.plan, limit=8, batch_size=4)
    begun = time.perf_counter()
    out = None if "no folder" in chosen.work.name else chosen.work / "run"
    result = sp.evaluate(net, digits, threat, chosen.plan, batch_size=chosen.batch_size, out=out)
    seconds = time.perf_counter() - begun
    if os.environ.get("RANK", "0") == "0":
        found = {name: getattr(result.block, name) for name in ("x", "broken_by", "distance", "forwards", "backwards")}
        safetensors.torch.save_file(found, chosen.work / "found.safetensors")
        (chosen.work / "seconds.json").write_text(json.dumps(seconds))


if __name__ == "__main__":
    main()

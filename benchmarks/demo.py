"""The demo as README shows it: its table, what it says about it, and the caption of its picture."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.figures import Kind, picture_of, sentence_of, table_of
from benchmarks.measure import settings
from sparring.cli.demo import HEADINGS, Demo, caption, reading, table
from sparring.cli.terminal import Terminal
from sparring.report.table import text

HEADER = ("network", "clean", "after each attack", "worst case", "C&W: fell", "C&W: mean L2", "believe PGD-20?")
KINDS: tuple[Kind, ...] = ("text", "accuracy", "accuracy", "accuracy", "text", "time", "text")


def rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """What is compared of a demo, a row a network, in per cent."""
    lines = []
    for name, records in found["models"].items():
        nearest, audit = found["carlini_wagner"][name], found["audits"][name]
        attacks = [row for row in records["table"] if row["kind"] == "attack"]
        left = [(row["name"], row["robust_accuracy"]) for row in attacks if row["robust_accuracy"] is not None]
        after = [f"{attack} {100 * share:.1f}" for attack, share in left]
        fell = f"{'all' if nearest['fell'] == nearest['attacked'] else nearest['fell']}"
        lines.append(
            (
                HEADINGS[name],
                f"{100 * records['clean_accuracy']:.1f}",
                "; ".join(after),
                f"{100 * records['robust_accuracy']:.1f}",
                fell,
                f"{nearest['mean_distance']:.2f}",
                audit["verdict"],
            )
        )
    return lines


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    settings(threads=1)
    with tempfile.TemporaryDirectory() as folder:
        found = Demo(Path(folder), Terminal(quiet=True)).run()
        picture_of(Path(folder) / "demo.png")
    shown = "\n".join([text(table(found), 100), "", *reading(found)])
    print(shown)
    table_of("demo", HEADER, rows(found), KINDS, f"```text\n{shown}\n```")
    sentence_of("demo-caption", caption(), "text")


if __name__ == "__main__":
    main()

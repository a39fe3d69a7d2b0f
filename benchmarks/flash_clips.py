"""Claim: every labelled clip gets its label: no hazard is missed, and nothing harmless is reported.

139 clips of the TRACE centre just above and just below the thresholds of flash standards, 1920 × 1080, 319 labels.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from pathlib import Path

import sparring as sp
from benchmarks.figures import sentence_of, table_of
from benchmarks.fixtures import Absent, find
from benchmarks.measure import table
from sparring.flash.records import Analysis


def labels() -> dict[Path, dict[str, bool]]:
    """The labelled clips: path -> standard -> whether it meets the standard.

    Raises:
        Absent: the clips are not there.
    """
    folder = find("data/flash")
    found: dict[Path, dict[str, bool]] = defaultdict(dict)
    with (folder / "labels.csv").open() as file:
        for row in csv.DictReader(file):
            found[folder / row["set"] / f"{row['name']}.mkv"][row["standard"]] = row["pass"] == "True"
    return dict(sorted(found.items()))


def nearest(analysis: Analysis, standard: str) -> float:
    """The smallest margin of a standard over all frames and rules: below 0 where it is not met."""
    return min(float(column.min()) for key, column in analysis.series.margin.items() if key.startswith(f"{standard}: "))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", default="0/1", help="every n-th clip, as in 0/4")
    options = parser.parse_args()
    first, step = map(int, options.part.split("/"))
    try:
        clips = list(labels().items())[first::step]
    except Absent as absent:
        print(f"skipped: {absent}")
        return
    right: dict[tuple[str, bool], list[bool]] = defaultdict(list)
    begun, frames = time.perf_counter(), 0
    for path, expected in clips:
        analysis = sp.flash.analyse(path, tuple(expected))
        frames += analysis.frames
        for standard, passes in expected.items():
            said = analysis.verdicts[standard].passed
            right[standard, passes].append(said is passes)
            if said is not passes:
                margin = nearest(analysis, standard)
                print(
                    f"WRONG {path.parent.name}/{path.stem} {standard}: {said}, labelled {passes}, margin {margin:+.3f}"
                )
    rows = []
    for standard in dict.fromkeys(standard for standard, _ in right):
        found, passed = (f"{sum(part)} of {len(part)}" for part in (right[standard, False], right[standard, True]))
        rows.append((f"`{standard}`", found, passed))
    header = ("standard", "hazards found", "harmless passed")
    table(f"{len(clips)} labelled clips", header, rows)
    wrong = sum(not one for part in right.values() for one in part)
    print(f"{len(clips)} clips, {frames} frames, {time.perf_counter() - begun:.0f} s: {wrong} wrong", end="")
    print(" NOT MET" if wrong else "")
    if step == 1:
        table_of("flash-clips", header, rows, ("text", "count", "count"))
        hazards = [one for (_, passes), part in right.items() if not passes for one in part]
        harmless = [one for (_, passes), part in right.items() if passes for one in part]
        told = f"{sum(hazards)} of {len(hazards)} hazards found, "
        told += f"{len(harmless) - sum(harmless)} of {len(harmless)} harmless reported"
        sentence_of("flash-clips-all", told, "count")


if __name__ == "__main__":
    main()

"""Claim: verdicts on flashing images survive being encoded, on every clip at least 5 % from a threshold.

The traps of the tests and the labelled clips through every encoder of the tests. How near a clip is to a threshold is
measured by moving all limits of the standard together (amplitude, darker state, area, ratio and distance of red) until
the verdict on the original changes. Near white one 8-bit code is 9 % of the limit on amplitude, so that even the
rounding of 4:4:4 YUV reaches farther than 5 % there. The number of transitions is not moved.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.fixtures import Absent, find
from benchmarks.measure import settings, table
from sparring import flash
from sparring.flash.standards import Flash, Luminance, Pattern, Rule, Standard
from tests.flash.encoders import ENCODERS
from tests.flash.stimuli import STANDARDS, TRAPS

FAR = 0.05
STEPS = (0.01, 0.02, 0.05, 0.10, 0.20)


@dataclass(frozen=True)
class Clip:
    name: str
    frames: NDArray[np.uint8]  # (T, H, W, 3), sRGB
    rate: Fraction
    standards: tuple[str, ...]


@dataclass(frozen=True)
class Flip:
    clip: str
    encoder: str
    standard: str
    before: bool | None
    after: bool | None
    far: bool


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(ENCODERS), default=list(ENCODERS), help="encoders")
    parser.add_argument("--without", nargs="+", choices=("traps", "labelled"), default=[])
    parser.add_argument("--every", type=int, default=1, help="every so many labelled clips")
    chosen = parser.parse_args(arguments)
    settings(encoders=", ".join(chosen.only), far=f"{FAR:.0%}")
    tally: Counter[tuple[str, str]] = Counter()
    flips: list[Flip] = []
    distances: dict[tuple[str, str], str] = {}
    for clip in clips(chosen.without, chosen.every):
        source = (clip.frames, np.arange(len(clip.frames)) / float(clip.rate))
        before, near = judged(source, clip.standards)
        found = list(encoded(clip, chosen.only, before, near))
        for encoder in chosen.only:
            for standard in clip.standards:
                tally[encoder, "near" if standard in near else "far"] += 1
        flips += found
        if found:
            changed = {one.standard for one in found}
            distances |= {(clip.name, name): distance(source, name, before[name]) for name in changed}
        print(f"{clip.name}: {len(found)} of {len(chosen.only) * len(clip.standards)} verdicts flip", flush=True)
    report(chosen.only, tally, flips, distances)


def clips(without: Sequence[str], every: int) -> Iterator[Clip]:
    """The traps, and the labelled clips as their labels' standards concern them."""
    if "traps" not in without:
        for name, trap in TRAPS.items():
            if not trap.fragile:
                yield Clip(name, trap.make(), Fraction(trap.fps), STANDARDS)
    if "labelled" not in without:
        try:
            folder = find("data/flash")
        except Absent as why:
            print(f"skipped: the labelled clips: {why}", flush=True)
            return
        with (folder / "labels.csv").open(newline="") as file:
            asked: dict[str, list[str]] = {}
            for row in csv.DictReader(file):
                asked.setdefault(f"{row['set']}/{row['name']}", []).append(row["standard"])
        for name in list(asked)[::every]:
            with av.open(str(folder / f"{name}.mkv")) as container:
                rate = container.streams.video[0].average_rate or Fraction(30)
                frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            yield Clip(name, np.stack(frames), Fraction(rate), tuple(asked[name]))


def verdicts(source: object, standards: Sequence[str | Standard]) -> dict[str, bool | None]:
    return {name: said.passed for name, said in flash.analyse(source, standards).verdicts.items()}  # type: ignore[arg-type]


def moved(standard: Standard, by: float) -> Standard:
    """The standard with every limit that is a quantity moved by that share; above 0, more is allowed."""

    def rule(one: Rule) -> Rule:
        if isinstance(one, Pattern):
            return replace(one, stationary=one.stationary * (1 + by), changing=one.changing * (1 + by))
        change = one.change
        if isinstance(change, Luminance):
            change = replace(change, delta=change.delta * (1 + by), dark_below=change.dark_below * (1 - by))
        else:
            ratio = min(change.ratio * (1 + by), 0.999)
            change = replace(change, ratio=ratio, distance=change.distance * (1 + by))
        assert isinstance(one, Flash)
        return replace(one, change=change, area=replace(one.area, share=one.area.share * (1 + by)))

    return replace(standard, name=f"{standard.name}{by:+.0%}", rules=tuple(rule(one) for one in standard.rules))


def judged(source: object, standards: Sequence[str]) -> tuple[dict[str, bool | None], set[str]]:
    """The verdicts, and the standards whose verdict changes when the limits move by 5 %."""
    known = flash.available()
    shifted = [moved(known[name], by) for name in standards for by in (-FAR, FAR)]
    said = verdicts(source, [*standards, *shifted])
    near = {name for name in standards if len({said[name], *(said[f"{name}{by:+.0%}"] for by in (-FAR, FAR))}) > 1}
    return {name: said[name] for name in standards}, near


def distance(source: object, standard: str, passed: bool | None) -> str:
    """By how much the limits move before the verdict on the original changes."""
    shifted = {by: moved(flash.available()[standard], by if passed is False else -by) for by in STEPS}
    said = verdicts(source, list(shifted.values()))
    changed = [by for by in STEPS if said[shifted[by].name] != passed]
    return f"within {changed[0]:.0%}" if changed else f"beyond {STEPS[-1]:.0%}"


def encoded(clip: Clip, encoders: Sequence[str], before: dict[str, bool | None], near: set[str]) -> Iterator[Flip]:
    """The verdicts that are not what they were."""
    with tempfile.TemporaryDirectory() as folder:
        for encoder in encoders:
            path = ENCODERS[encoder].write(Path(folder) / "clip", clip.frames, clip.rate)
            after = verdicts(path, clip.standards)
            for name in clip.standards:
                if after[name] != before[name]:
                    yield Flip(clip.name, encoder, name, before[name], after[name], name not in near)


def report(
    encoders: Sequence[str],
    tally: Counter[tuple[str, str]],
    flips: Sequence[Flip],
    distances: dict[tuple[str, str], str],
) -> None:
    """How many flip, which way, with what margin."""
    word = {True: "meets", False: "does not meet", None: "unknown"}
    rows = []
    for encoder in encoders:
        own = [one for one in flips if one.encoder == encoder]
        ways = Counter((one.far, one.after) for one in own)
        lost = sum(count for (far, _), count in ways.items() if far)
        rows.append(
            [encoder, tally[encoder, "far"], lost, tally[encoder, "near"], ways[False, True], ways[False, False]]
        )
    head = ["encoder", "at least 5 % away", "flipped", "nearer", "flipped to meets", "flipped to does not meet"]
    table("verdicts (clip × standard)", head, rows)
    told = [
        [one.clip, one.encoder, one.standard, word[one.before], word[one.after], distances[one.clip, one.standard]]
        for one in flips
    ]
    table("what flipped", ["clip", "encoder", "standard", "original", "encoded", "the original changes"], told)
    lost = sum(one.far for one in flips)
    print(f"no verdict at least 5 % from a threshold flips: {f'NOT MET, {lost} do' if lost else 'met'}")


if __name__ == "__main__":
    main()

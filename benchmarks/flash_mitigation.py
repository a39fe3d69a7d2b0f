"""Claim: what `mitigate` writes meets every standard asked for, and differs from the source only where that did not.

Every hazardous labelled clip and every trap of the tests that some standard forbids, in all six standards at once:
written without loss (FFV1) and by H.264 at CRF 18, read again and analysed. Without loss, all frames outside the
incidents are those of the source bit for bit; at CRF 18 their PSNR is at most 0.5 dB below that of the same encoder on
the untouched clip. Harmless clips are copied. Of the traps also the live limiter and the causal mode.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.fixtures import Absent
from benchmarks.flash_clips import labels
from benchmarks.measure import settings, table
from sparring import flash
from sparring.flash.mitigation.clip import Mitigation
from sparring.flash.mitigation.quality import Quality
from sparring.flash.mitigation.shots import shots
from sparring.flash.mitigation.writing import Encoding, writer
from sparring.flash.reading import opened
from sparring.flash.records import Analysis
from tests.flash.encoders import Encoder
from tests.flash.stimuli import FPS, STANDARDS, TRAPS

DROP = 0.5  # dB at most
RGB = Encoder("ffv1", ".mkv", "bgr0")


@dataclass
class Row:
    """What came of one hazardous clip."""

    name: str
    lossless: Mitigation
    coded: Mitigation
    identical: bool  # without loss, outside the incidents
    drop: float  # dB by which what lies outside the incidents is worse than the same encoder's untouched; nan: none
    seconds: float
    live: float = math.nan  # dB of the live limiter's result, -inf where that does not pass
    causal: float = math.nan

    @property
    def met(self) -> bool:
        passed = self.lossless.passed is True and self.coded.passed is True
        return passed and self.identical and not self.drop > DROP and self.live != -math.inf


def outside(seconds: float, analysis: Analysis) -> bool:
    return not any(one.start - 1e-6 <= seconds <= one.end + 1e-6 for one in analysis.violations)


def away(source: Path, target: Path, analysis: Analysis) -> tuple[Quality, bool]:
    """How near the frames outside the incidents are to the source's, and whether they are the same."""
    quality, same = Quality(), True
    for one, other in zip(opened(source).pictures(), opened(target).pictures(), strict=True):
        if outside(one.seconds, analysis):
            quality.push(one, other)
            same &= all(np.array_equal(a.array(), b.array()) for a, b in zip(one.planes, other.planes, strict=False))
    return quality, same


def untouched(source: Path, target: Path) -> None:
    """The source by the same encoder, not limited."""
    clip, frames = shots(source)
    with writer(source, target, Encoding.of(target, 18, lossless=False), clip) as out:
        for shot in frames:
            out.write(shot)


def mitigated(name: str, source: Path, folder: Path, standards: Sequence[str]) -> Row:
    begun = time.perf_counter()
    exact = flash.mitigate(source, folder / "exact.mkv", standards, lossless=True)
    coded = flash.mitigate(source, folder / "coded.mp4", standards)
    took = time.perf_counter() - begun
    untouched(source, folder / "plain.mp4")
    _, same = away(source, folder / "exact.mkv", exact.before)
    (near, _), (plain, _) = (away(source, folder / file, coded.before) for file in ("coded.mp4", "plain.mp4"))
    return Row(name, exact, coded, same, plain.psnr - near.psnr if near.pictures else math.nan, took)


def live(row: Row, name: str) -> None:
    """Fill in what the limiter makes of a trap, frame by frame, and the causal mode."""
    frames, seconds = TRAPS[name].clip()
    causal = flash.mitigate((frames, seconds), standard=STANDARDS, causal=True)
    row.causal = causal.psnr
    limiter = flash.Limiter(STANDARDS)
    made = np.stack([limiter.push(frame, moment) for frame, moment in zip(frames, seconds, strict=True)])
    left = [one for one in flash.analyse((made, seconds), STANDARDS).violations if "flash" in one.rule]
    error = np.mean((made.astype(np.float64) - frames) ** 2)
    row.live = -math.inf if left else 10 * math.log10(255**2 / error) if error else math.inf


def traps(folder: Path) -> Iterator[tuple[str, Path, bool]]:
    for name, trap in TRAPS.items():
        frames, _ = trap.clip()
        yield name, RGB.write(folder / name, frames, FPS), all(one.passed for one in trap.expected.values())


def report(rows: list[Row]) -> None:
    table(
        "hazardous clips, without loss and at CRF 18",
        ["clip", "passes", "rounds", "changed", "PSNR", "SSIM", "CRF 18 passes", "rounds", "PSNR", "same", "drop", "s"],
        [
            [
                row.name, str(row.lossless.passed), row.lossless.rounds,
                f"{row.lossless.changed} of {row.lossless.before.frames}", f"{row.lossless.psnr:.1f}",
                f"{row.lossless.ssim:.4f}", str(row.coded.passed), row.coded.rounds, f"{row.coded.psnr:.1f}",
                "yes" if row.identical else "NO", f"{row.drop:+.2f}", f"{row.seconds:.0f}",
            ]
            for row in rows
        ],
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", nargs="+", choices=("traps", "labelled", "harmless"), default=[])
    parser.add_argument("--part", default="0/1", help="every n-th labelled clip, as in 0/4")
    chosen = parser.parse_args(arguments)
    settings(standards=", ".join(STANDARDS), part=chosen.part)
    rows: list[Row] = []
    copied: list[bool] = []

    def look(name: str, source: Path, harmless: bool, standards: Sequence[str]) -> Row | None:
        if harmless:
            if "harmless" not in chosen.without:
                target = folder / f"copy{source.suffix}"
                made = flash.mitigate(source, target, standards)
                copied.append(made.copied and target.read_bytes() == source.read_bytes())
                if not copied[-1]:
                    print(f"{name}: not copied NOT MET", flush=True)
            return None
        row = mitigated(name, source, folder, STANDARDS)
        rows.append(row)
        print(f"{name}: {'met' if row.met else 'NOT MET'}", flush=True)
        return row

    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        if "traps" not in chosen.without:
            for name, source, harmless in traps(folder):
                if (row := look(name, source, harmless, STANDARDS)) is not None:
                    live(row, name)
                source.unlink()
        if "labelled" not in chosen.without:
            first, step = map(int, chosen.part.split("/"))
            try:
                clips = list(labels().items())[first::step]
            except Absent as absent:
                print(f"skipped: {absent}")
                clips = []
            for source, expected in clips:
                look(f"{source.parent.name}/{source.stem}", source, all(expected.values()), tuple(expected))
    report(rows)
    if "traps" not in chosen.without:
        table(
            "PSNR of the traps in dB",
            ["trap", "seeing the end", "causal", "live"],
            [
                [row.name, f"{row.lossless.psnr:.1f}", f"{row.causal:.1f}", f"{row.live:.1f}"]
                for row in rows
                if not math.isnan(row.live)
            ],
        )
    met, drops = sum(row.met for row in rows), [row.drop for row in rows if not math.isnan(row.drop)]
    print(f"hazardous: {met} of {len(rows)} met; largest drop outside incidents {max(drops, default=0):+.2f} dB")
    print(f"harmless: {sum(copied)} of {len(copied)} copied bit for bit", end="")
    print("" if met == len(rows) and all(copied) else " NOT MET")


if __name__ == "__main__":
    main()

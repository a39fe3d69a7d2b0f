"""Makes the figures of the pages again and compares them with those that are kept: `make claims`.

A page marks what a command made, `<!-- figure: NAME -->` … `<!-- end -->`, and says when, where and by what.
Whatever fits into --minutes is run, the quickest first. Where a new run agrees, pages and results stay as they are;
where it does not, both are written anew, the differences are told, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import FOLDER, Figure, differences, read, stamped, write

ROOT = Path(__file__).parent.parent
MARK = re.compile(r"(<!-- (figure|measured): (\S+) -->)(.*?)(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Claim:
    """A command and the figures it gives."""

    arguments: str  # of `python -m benchmarks.…`
    figures: tuple[str, ...]

    @property
    def command(self) -> str:
        return f"python -m benchmarks.{self.arguments}"


CLAIMS = (
    Claim("demo", ("demo", "demo-caption")),
    Claim("recipes", ("recipes",)),
    Claim("linear", ("linear",)),
    Claim("independence --examples 32", ("independence",)),
    Claim("flash_clips", ("flash-clips", "flash-clips-all")),
    Claim("evaluation --limit 400 --plans standard", ("standard-cifar", "standard-digits")),
    Claim("masking", ("masking-digits", "masking-lenet", "masking-trades", "masking")),
    Claim("curve", ("curve",)),
    Claim("durability", ("durability",)),
    Claim("mutation", ("mutation",)),
    Claim("sharding", ("sharding",)),
    Claim("step_cost", ("step-cost", "early-exit")),
    Claim("published", ("published-pgd", "published-apgd", "published-carlini-wagner")),
    Claim("evaluation --limit 400 --plans AutoAttack cr a3 standard", ("evaluation-cifar", "evaluation-digits")),
    Claim("evaluation --only mnist --limit 10000 --plans standard", ("evaluation-mnist",)),
    Claim("evaluation_masked", ("evaluation-masked",)),
    Claim("training_cost", ("training-cost",)),
    Claim("defenses", ("defenses",)),
    Claim("cifar10", ("cifar10", "cifar10-time")),
    Claim("flash_speed", ("flash-speed",)),
    Claim("audit", ("audit-reporting", "audit-tuning", "audit-warnings-reporting", "audit-cost")),
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long it may take in all")
    parser.add_argument("--only", nargs="+", metavar="BENCHMARK", help="these, however long they take")
    parser.add_argument("--rewrite", action="store_true", help="write the new figures even where they agree")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="where benchmarks keep their rows, to go on from")
    parser.add_argument("--pages", action="store_true", help="run nothing: write the pages from the kept figures")
    chosen = parser.parse_args(arguments)
    told: list[str] = []
    begun = time.monotonic()
    for claim in sorted(CLAIMS, key=_seconds) if not chosen.pages else ():
        left = 60 * chosen.minutes - (time.monotonic() - begun)
        if chosen.only and claim.arguments.split()[0] not in chosen.only:
            continue
        if not chosen.only and _seconds(claim) > left:
            print(f"not run: {claim.command}: {_seconds(claim) / 60:.0f} minutes; {_kept(claim)}", flush=True)
            continue
        told += _again(claim, chosen.rewrite, chosen.work)
    print(f"{time.monotonic() - begun:.0f} s; " + ("\n".join(["different:", *told]) if told else "no difference"))
    write_pages()
    return int(bool(told))


def _again(claim: Claim, rewrite: bool, work: Path | None) -> list[str]:
    """Runs a command; what it says differently is told and kept."""
    print(f"\n===== {claim.command}", flush=True)
    start = time.monotonic()
    # In an empty folder, so that nothing an earlier run left is taken for measured, unless one was asked for.
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as empty:
        place = {FOLDER: folder, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        name, *arguments = claim.arguments.split()
        command = [sys.executable, "-u", "-m", f"benchmarks.{name}", *arguments]
        if subprocess.run(command, cwd=work or empty, env=os.environ | place).returncode:
            return [f"{claim.command} failed"]
        took, told = time.monotonic() - start, []
        for name in claim.figures:
            kept, new = read(name), read(name, Path(folder))
            if new is None:
                print(f"not measured: {name}, see above; {_when(kept)}", flush=True)
                continue
            found = differences(kept, new) if kept else [f"{name}: new"]
            told += found
            if found or rewrite:
                write(stamped(new, claim.command, *_now(), took))
                for picture in Path(folder).glob("*.png"):
                    shutil.copy(picture, ROOT / "docs")
    return told


def _seconds(claim: Claim) -> float:
    """How long it took when it was last run."""
    return max((kept.seconds for name in claim.figures if (kept := read(name))), default=0.0)


def _kept(claim: Claim) -> str:
    return _when(next((kept for name in claim.figures if (kept := read(name))), None))


def _when(kept: Figure | None) -> str:
    return f"measured {kept.measured}" if kept else "never measured"


def _now() -> tuple[str, str]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    return datetime.datetime.now(datetime.UTC).date().isoformat(), commit.strip() or "unknown"


def pages() -> Iterator[Path]:
    yield from (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))


def rendered(text: str, figures: Mapping[str, Figure]) -> str:
    """A page with every marked place as the kept figures say; a mark without a figure stays."""

    def place(match: re.Match[str]) -> str:
        begin, what, name, inside, end = match.groups()
        figure = figures.get(name)
        if figure is None:
            return match[0]
        if what == "measured":
            return f"{begin}{figure.measured}{end}"
        if not inside.startswith("\n"):
            return f"{begin}{figure.shown}{end}"
        return f"{begin}\n{figure.shown}\n\n{figure.note}\n{end}"

    return MARK.sub(place, text)


def marked(text: str) -> set[str]:
    """The names of the figures that a page shows."""
    return {match[3] for match in MARK.finditer(text)}


def write_pages() -> None:
    for page in pages():
        text = page.read_text()
        figures = {name: figure for name in marked(text) if (figure := read(name))}
        if (new := rendered(text, figures)) != text:
            page.write_text(new)
            print(f"rewritten: {page.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())

"""The tables and sentences that the pages show: a benchmark gives them, `make claims` keeps them in results/.

A benchmark calls `table_of` or `sentence_of` with what it measured. That writes a file into the folder that
SPARRING_FIGURES names, and nothing where it names none: a run with other settings changes no page.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

FORMAT = 1
RESULTS = Path(__file__).parent / "results"
FOLDER = "SPARRING_FIGURES"
POINTS = 3.0  # how far an accuracy may lie from the one that is kept, in points: training differs between processors

Kind = Literal["text", "accuracy", "count", "time"]
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Figure:
    """A table, or a sentence, of a page.

    `kinds` says of each column how a new run is compared: "text" and "count" must be equal; each number of an
    "accuracy" must be within 3 points, and rows more than 3 points apart keep their order; "time" is not compared.
    """

    name: str
    shown: str  # the words of the page
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    kinds: tuple[Kind, ...]
    command: str = ""
    date: str = ""
    commit: str = ""
    seconds: float = 0.0

    @property
    def measured(self) -> str:
        return f"{self.date}, {self.commit}"

    @property
    def note(self) -> str:
        return f"Measured {self.date} at commit {self.commit} by `{self.command}`."


def table_of(
    name: str, header: Sequence[str], rows: Sequence[Sequence[object]], kinds: Sequence[Kind], shown: str | None = None
) -> None:
    """A table; `shown` where the page shows it in another form than Markdown."""
    cells = tuple(tuple(map(str, row)) for row in rows)
    _give(Figure(name, shown or markdown(header, cells), tuple(header), cells, tuple(kinds)))


def sentence_of(name: str, words: str, kind: Kind) -> None:
    """A sentence, or a part of one; `kind` is that of its numbers."""
    _give(Figure(name, words, ("",), ((words,),), (kind,)))


def picture_of(path: Path) -> None:
    """A picture of the pages, docs/NAME of the file's name; it is taken over where a figure of the same run is."""
    if folder := os.environ.get(FOLDER):
        shutil.copy(path, folder)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" if line[0] != "---" else "|---" * len(line) + "|" for line in lines)


def _give(figure: Figure) -> None:
    if folder := os.environ.get(FOLDER):
        write(figure, Path(folder))


def write(figure: Figure, folder: Path = RESULTS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"format": FORMAT, **asdict(figure)}
    (folder / f"{figure.name}.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def read(name: str, folder: Path = RESULTS) -> Figure | None:
    """The figure of that name, None where there is none."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    kept: dict[str, Any] = json.loads(path.read_text())
    if kept.pop("format") != FORMAT:
        raise ValueError(f"{path} has another format: make it again")
    kept |= {"rows": tuple(map(tuple, kept["rows"])), "header": tuple(kept["header"]), "kinds": tuple(kept["kinds"])}
    return Figure(**kept)


def stamped(figure: Figure, command: str, date: str, commit: str, seconds: float) -> Figure:
    return replace(figure, command=command, date=date, commit=commit, seconds=round(seconds, 1))


def differences(kept: Figure, new: Figure) -> list[str]:
    """Where a new run says something else than the page; empty where it agrees."""
    if (kept.header, kept.kinds, len(kept.rows)) != (new.header, new.kinds, len(new.rows)):
        return [f"{kept.name}: other columns or rows"]
    found = []
    for at, kind in enumerate(kept.kinds):
        if kind == "time":
            continue
        column = [(row[0], row[at], other[at]) for row, other in zip(kept.rows, new.rows, strict=True)]
        for who, before, after in column:
            if not _alike(before, after, kind):
                found.append(f"{kept.name}: {who}, {kept.header[at]}: {before} before, {after} now")
        if kind == "accuracy":
            found += [f"{kept.name}, {kept.header[at]}: {one}" for one in _swapped(column)]
    return found


def numbers(cell: str) -> list[float]:
    return [float(number.replace(",", "")) for number in _NUMBER.findall(cell)]


def _alike(before: str, after: str, kind: Kind) -> bool:
    if kind != "accuracy":
        return before == after
    a, b = numbers(before), numbers(after)
    words = _NUMBER.sub("#", before) == _NUMBER.sub("#", after)
    return words and all(abs(x - y) <= POINTS for x, y in zip(a, b, strict=True))


def _swapped(column: Sequence[tuple[str, str, str]]) -> list[str]:
    """Pairs of rows that stood clearly apart and have changed places."""
    firsts = [(who, numbers(a)[:1], numbers(b)[:1]) for who, a, b in column]
    known = [(who, a[0], b[0]) for who, a, b in firsts if a and b]
    return [
        f"{one} and {two} have changed places"
        for i, (one, a, b) in enumerate(known)
        for two, c, d in known[i + 1 :]
        if abs(a - c) > POINTS and (a - c) * (b - d) <= 0
    ]

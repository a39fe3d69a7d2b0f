"""Rows on disk, a line each: by name and seed, and the last of a pair counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.labelled.bases import FOLDER

LABELS = FOLDER / "labels.jsonl"


def rows(path: Path, **wanted: object) -> dict[tuple[str, int], dict[str, Any]]:
    """The rows of a file that have the wanted values."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    wished = [row for row in lines if all(row.get(key) == value for key, value in wanted.items())]
    return {(row["name"], row["seed"]): row for row in wished}


def added(path: Path, row: dict[str, Any]) -> None:
    """One line more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        print(json.dumps(row), file=file)

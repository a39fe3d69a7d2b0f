"""The labelled set that the audit is scored on: models whose gradients may be believed, and models whose may not."""

from __future__ import annotations

from benchmarks.labelled.entry import Entry
from benchmarks.labelled.honest import HONEST
from benchmarks.labelled.masked import MASKED
from benchmarks.labelled.transformed import TRANSFORMED

ENTRIES: dict[str, Entry] = {**MASKED, **TRANSFORMED, **HONEST}

__all__ = ["ENTRIES", "Entry"]

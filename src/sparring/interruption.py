"""What a stopped run says: how much is finished, and how to go on, for which the command line has its own words."""

from __future__ import annotations

from pathlib import Path


def interrupted(stop: KeyboardInterrupt, done: str, folder: Path | None) -> None:
    """Add to Ctrl-C that so much is finished, such as "10 of 40 examples"; `finished` says it without how to go on."""
    finished = f"{done} are finished in {folder}" if folder else f"{done} are finished, none saved"
    stop.finished = finished  # type: ignore[attr-defined]
    stop.add_note(f"{finished}; call again with resume=True to go on" if folder else finished)

"""Whose code raised. An error out of the caller's own network or file keeps its type, and is marked as theirs."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sparring.errors import SparringError
from sparring.provenance import installed

_MARK = "__sparring_blames__"


@contextmanager
def blaming(whose: str | Callable[[], str]) -> Iterator[None]:
    """Mark what leaves the block as raised by the caller's code; but for errors of ours, and for Ctrl-C.

    whose: what is blamed, in words such as "the network Net".
    """
    try:
        yield
    except (SparringError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # the code of others may even leave: SystemExit
        mark(error, whose if isinstance(whose, str) else whose())
        raise


def mark(error: BaseException, whose: str) -> None:
    """Say that an error is of the caller's own code, once."""
    if blamed(error) is None:
        setattr(error, _MARK, whose)
        error.add_note(f"raised in {whose}")


def blamed(error: BaseException) -> str | None:
    """Whose code raised the error, in words; None where it was not the caller's."""
    found: str | None = getattr(error, _MARK, None)
    return found


def told(error: BaseException) -> str:
    """One line: whose code raised what, and where in it."""
    what = "left the program" if isinstance(error, SystemExit) else f"raised {type(error).__name__}"
    said = " ".join(str(error).split())
    return f"{blamed(error)} {what}{f': {said}' if said else ''}{_place(error)}"


def _place(error: BaseException) -> str:
    """Where the last line of the caller's own code is on the way to the error."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith("<") and not installed(Path(frame.filename)):
            return f" (at {frame.filename}:{frame.lineno} in {frame.name}: {(frame.line or '').strip()})"
    return ""

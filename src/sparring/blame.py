"""Whose code raised. An error out of the caller's own network or file keeps its type, and is marked as theirs."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from sparring.errors import SparringError
from sparring.provenance import installed

_MARK = "__sparring_blames__"
_BENEATH = (Path(__file__).resolve().parent, Path(torch.__file__).resolve().parent)
_PACKAGES, _PYTHON = (Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "stdlib"))


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
        with suppress(Exception):  # an exception class of others may refuse even that
            setattr(error, _MARK, whose)
            error.add_note(f"raised in {whose}")


def blamed(error: BaseException) -> str | None:
    """Whose code raised the error, in words; None where it was not the caller's."""
    found: str | None = getattr(error, _MARK, None)
    return found


def foreign(error: BaseException) -> bool:
    """Whether the caller's code is to blame: it is marked, or no error of ours and on its way through their code."""
    return blamed(error) is not None or (not isinstance(error, SparringError) and bool(_place(error)))


def told(error: BaseException) -> str:
    """One line: whose code raised what, and where in it."""
    what = "left the program" if isinstance(error, SystemExit) else f"raised {type(error).__name__}"
    try:
        said = " ".join(str(error).split())
    except Exception:  # their own __str__ raises too
        said = ""
    return f"{blamed(error) or 'your own code'} {what}{f': {said}' if said else ''}{_place(error)}"


def _place(error: BaseException) -> str:
    """Where the last line of the caller's own code is on the way to the error; of a package's, where it was installed.

    Code that is installed is looked at only where the error is marked: else it may be what sparring stands on.
    """
    frames = [one for one in reversed(traceback.extract_tb(error.__traceback__)) if not one.filename.startswith("<")]
    own = [one for one in frames if not installed(Path(one.filename))]
    if not own and blamed(error) is not None:
        own = [one for one in frames if not _beneath(Path(one.filename).resolve())]
    if not own:
        return ""
    return f" (at {own[0].filename}:{own[0].lineno} in {own[0].name}: {(own[0].line or '').strip()})"


def _beneath(file: Path) -> bool:
    """Whether a file is of sparring, torch or Python, where no network of a caller is defined."""
    python = file.is_relative_to(_PYTHON) and not file.is_relative_to(_PACKAGES)
    return python or any(file.is_relative_to(at) for at in _BENEATH)

"""Exit codes, and the one place where errors become them."""

from __future__ import annotations

import functools
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import ParamSpec

import typer

from sparring.errors import SparringError, SparringWarning
from sparring.report.printable import clean

PASS, GATE, USAGE, UNRELIABLE, FAULT, INTERNAL, STOPPED = 0, 1, 2, 3, 4, 70, 130
TRACEBACK = "--traceback"

_USAGE: tuple[type[Exception], ...] = tuple(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException" and issubclass(kind, Exception)
)

P = ParamSpec("P")


def guarded(command: Callable[P, int]) -> Callable[P, None]:
    """A command whose exit code is what it returns; an error becomes one line, with --traceback all of it.

    1 is for gates alone: what the user's own code raises is 4, even SystemExit, and a fault of ours 70.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with warnings.catch_warnings():
            _tell_warnings()
            try:
                code = command(*args, **kwargs)
            except KeyboardInterrupt as stop:
                finished = getattr(stop, "finished", None)
                for line in ("stopped", *([finished] if finished else ()), *getattr(stop, "go_on", ())):
                    _say(line)
                code = STOPPED
            except BaseException as error:
                if isinstance(error, (typer.Exit, typer.Abort, *_USAGE)) and not _foreign(error):
                    raise
                code = _code(error)
        raise typer.Exit(code)

    return run


def _foreign(error: BaseException) -> bool:
    from sparring.blame import foreign

    return foreign(error)


def _code(error: BaseException) -> int:
    """The exit code of an error, once it was told."""
    from sparring.blame import foreign, told

    if TRACEBACK in sys.argv:
        traceback.print_exception(error)
    whole = f"{TRACEBACK} shows all of it"
    cause = error.__cause__ if isinstance(error, SparringError) and error.__cause__ else error
    if foreign(error):
        _say(f"error: {told(cause if foreign(cause) else error)}; {whole}")
        return FAULT
    if isinstance(error, SparringError | OSError):  # OSError: a folder that cannot be written
        _say(f"error: {error}")
        return USAGE
    _say(f"error: sparring itself failed, with {type(error).__name__}: {error}; please report it. {whole}")
    return INTERNAL


def _say(line: str) -> None:
    typer.echo(clean(line), err=True)


def _tell_warnings() -> None:
    """Warnings of ours are told as everything else is, without a line of code."""
    others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: object, **more: object) -> None:
        if issubclass(category, SparringWarning):
            _say(f"note: {message}")
        else:
            others(message, category, *where, **more)  # type: ignore[arg-type]

    warnings.simplefilter("always", SparringWarning)
    warnings.showwarning = show

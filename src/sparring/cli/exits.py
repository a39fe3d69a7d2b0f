"""Exit codes, and the one place where errors become them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

import typer

from sparring.errors import SparringError

PASS, GATE, USAGE, UNRELIABLE, STOPPED = 0, 1, 2, 3, 130

P = ParamSpec("P")


def guarded(command: Callable[P, int]) -> Callable[P, None]:
    """A command whose exit code is what it returns; errors raised on purpose become one line, not a traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = command(*args, **kwargs)
        except (SparringError, OSError) as error:  # OSError: a folder that cannot be written
            typer.echo(f"error: {error}", err=True)
            code = USAGE
        except KeyboardInterrupt as stop:
            for line in ("stopped", *getattr(stop, "__notes__", ())):
                typer.echo(line, err=True)
            code = STOPPED
        raise typer.Exit(code)

    return run

"""Options of a command from a TOML file: plan = "quick", threat = "linf:8/255", bounds = [0, 255]."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparring.errors import InputError, closest


def options(path: str, known: Sequence[str]) -> dict[str, Any]:
    """The options that a file sets, by the names of a command's parameters; "-" and "_" are the same in a name.

    Raises:
        InputError: it cannot be read, or names an option that the command does not have.
    """
    try:
        told = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--config {path} cannot be read: {error}") from error
    found: dict[str, Any] = {}
    for key, value in told.items():
        name = key.replace("-", "_")
        if name not in known:
            raise InputError(f"--config {path}: {key} is unknown.{closest(name, known)} There are: {', '.join(known)}")
        if isinstance(value, dict):
            raise InputError(f"--config {path}: {key} is a table; write {key} = ..., as after --{key}")
        found[name] = ",".join(map(str, value)) if isinstance(value, list) else value
    return found

"""Options of a command from a TOML file: plan = "quick", threat = "linf:8/255", bounds = [0, 255]."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from sparring.errors import InputError, closest

REMEDY = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text in quotes, a number or a list of numbers",
}


def options(path: str, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a file sets, by the names of a command's parameters; "-" and "_" are the same in a name.

    kinds: the type of every parameter.

    Raises:
        InputError: it cannot be read, or names an option that the command does not have, or gives it another type.
    """
    try:
        told = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--config {path} cannot be read: {error}") from error
    found: dict[str, Any] = {}
    for key, value in told.items():
        name = key.replace("-", "_")
        if name not in kinds:
            raise InputError(f"--config {path}: {key} is unknown.{closest(name, kinds)} There are: {', '.join(kinds)}")
        if isinstance(value, dict):
            raise InputError(f"--config {path}: {key} is a table; write {key} = ..., as after --{key}")
        if name in found:
            raise InputError(f"--config {path}: {key} is there twice; keep one")
        kind = next(one for one in (*get_args(kinds[name]), kinds[name]) if one is not NoneType)
        if not _fits(kind, value):
            raise InputError(f"--config {path}: {key} is {value!r}; give {REMEDY[kind]}")
        found[name] = ",".join(map(str, value)) if isinstance(value, list) else value
    return found


def _fits(kind: type, value: object) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if isinstance(value, str) and "\0" in value:  # no shell lets it through either
        return False
    if kind is str:
        many = isinstance(value, list) and bool(value) and all(_fits(float, one) for one in value)
        return many or isinstance(value, str | int | float)
    return isinstance(value, int) or (isinstance(value, float) and kind is float)

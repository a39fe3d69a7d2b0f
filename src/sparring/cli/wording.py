"""Words typed by people: the value they stand for, or an error that says what would have been one."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from sparring.errors import InputError


def numbers(option: str, text: str | None, count: int | None = None) -> tuple[float, ...] | None:
    """The numbers in "0.5,0.5,0.5"; None stays None."""
    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or count not in (None, len(found)):
        wanted = "numbers" if count is None else f"{count} numbers"
        raise InputError(f"{option} is {text!r}; give {wanted} with commas between, such as 0,1")
    return found


def settings(texts: Iterable[str]) -> dict[str, Any]:
    """The table that "key=value" texts stand for; a dotted key, attack.steps=10, sets a value inside of another."""
    table: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set {text!r} has no value; write it as --set key=value")
        *outer, last = key.split(".")
        inner = table
        for name in outer:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise InputError(f"--set {text!r}: {name} is already set to {inner!r}; set {name}.name to choose one")
        inner[last] = literal(value)
    return table


def literal(text: str) -> bool | int | float | str:
    """true, false and numbers as what they are; anything else is a word."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text

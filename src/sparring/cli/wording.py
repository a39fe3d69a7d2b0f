"""Words typed by people: the value they stand for, or an error that says what would have been one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import Field, fields
from difflib import get_close_matches
from typing import Any, TypeVar, get_type_hints

from sparring.errors import InputError

T = TypeVar("T")


def closest(word: str, known: Iterable[str]) -> str:
    """The question whether the nearest known word was meant, or nothing when none is near."""
    near = get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else ""


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


def settable(kind: type[Any]) -> dict[str, Field[Any]]:
    """The parameters of an attack or a defense, by name."""
    return {field.name: field for field in fields(kind) if field.init and field.repr}


def made(kind: type[T], name: str, settings: Iterable[str]) -> T:
    """A value of a frozen dataclass from "key=value" texts, each read by the type of its field."""
    from pydantic import TypeAdapter, ValidationError

    known, hints = settable(kind), get_type_hints(kind)
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting!r} has no value; write it as --set key=value")
        if key not in known:
            has = ", ".join(known) or "nothing to set"
            raise InputError(f"{name} has no parameter {key!r}.{closest(key, known)} It has: {has}")
        adapter = TypeAdapter[Any](hints[key])
        empty = text.lower() == "none" and type(None) in getattr(hints[key], "__args__", ())
        try:
            values[key] = adapter.validate_python(None if empty else text)
        except ValidationError as error:
            wanted = error.errors()[0]["msg"].removeprefix("Input should be ")
            raise InputError(f"--set {key}={text!r} cannot be used for {name}: it should be {wanted}") from None
    return kind(**values)

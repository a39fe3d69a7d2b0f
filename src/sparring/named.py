"""Frozen values from names and settings, as recipes and the command line write them: PGD(steps=10) from a table.

A table is a mapping of settings by name. What one cannot hold is said with the place it stands at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, replace
from typing import Any, TypeVar, get_args, get_type_hints

from sparring.errors import InputError, closest

T = TypeVar("T")
Table = Mapping[str, Any]
Make = Callable[[Any, str, Any], Any]  # (what is written, where, the default) -> the value
Makers = Mapping[type, Make]  # by the type of the field


def settable(kind: type[Any]) -> dict[str, Field[Any]]:
    """The parameters of an attack or a defense by name: those that make a difference to what it does."""
    return {field.name: field for field in fields(kind) if field.init and field.compare}


def chosen(known: Mapping[str, T], name: object, where: str) -> T:
    """The one of that name.

    Raises:
        InputError: none has that name.
    """
    if isinstance(name, str) and name in known:
        return known[name]
    hint = closest(name, known) if isinstance(name, str) else ""
    raise InputError(f"{where} {name!r} is unknown.{hint} There are: {', '.join(known)}")


def made(kind: type[T], settings: Table, where: str, name: str, makers: Makers | None = None, start: Any = None) -> T:
    """A frozen value from the settings of some of its fields; the others are those of `start`, or the defaults.

    where: what is written before a setting's name to say where it stands, such as "--set " or "defense.attack.".
    A field of a type in `makers` is made by it; every other one is read by its type, "none" as None.

    Raises:
        InputError: a setting is unknown, or of a wrong type, or refused by the value.
    """
    known, hints = settable(kind), get_type_hints(kind)
    here = where.rstrip(" .")
    values: dict[str, Any] = {}
    for key, written in settings.items():
        if key not in known:
            has = ", ".join(known) or "nothing to set"
            raise InputError(f"{here}: {name} has no parameter {key!r}.{closest(key, known)} It has: {has}")
        kinds = (hints[key], *get_args(hints[key]))
        make = next((make for kind, make in (makers or {}).items() if kind in kinds), None)
        if type(None) in kinds and isinstance(written, str) and written.lower() == "none":
            values[key] = None
        elif make is not None:
            values[key] = make(written, where + key, _default(known[key]) if start is None else getattr(start, key))
        else:
            values[key] = _read(hints[key], written, where + key)
    try:
        return kind(**values) if start is None else replace(start, **values)
    except InputError as error:
        raise InputError(f"{here}: {error}") from None


def family(known: Callable[[], Mapping[str, type[Any]]], makers: Makers | None = None) -> Make:
    """What makes a value of a registry from a table: `name` says which; without a name the default is changed."""

    def make(written: Any, where: str, default: Any) -> Any:
        registry = known()
        if not isinstance(written, Mapping):
            raise InputError(f'{where} is {written!r}; write a table such as {{ name = "{next(iter(registry))}" }}')
        settings = {key: value for key, value in written.items() if key != "name"}
        if "name" in written:
            kind = chosen(registry, written["name"], f"{where}.name")
            return made(kind, settings, f"{where}.", written["name"], makers)
        if default is None:
            raise InputError(f"{where} has no name. There are: {', '.join(registry)}")
        return made(type(default), settings, f"{where}.", type(default).__name__, makers, default)

    return make


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default


def _read(hint: Any, written: Any, where: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    value = tuple(written) if isinstance(written, list) else written
    if isinstance(written, str) and float in (hint, *get_args(hint)):
        value = _fraction(written)
    try:
        return TypeAdapter[Any](hint).validate_python(value, strict=True)
    except ValidationError as error:
        raise InputError(f"{where} is {written!r}; it should be {wanted(error.errors()[0]['msg'])}") from None


def _fraction(text: str) -> float | str:
    """2/255 as a number, which TOML has no way to write; anything else as it is."""
    over, slash, under = text.partition("/")
    try:
        return float(over) / float(under) if slash else text
    except (ValueError, ZeroDivisionError):
        return text


def wanted(message: str) -> str:
    """What pydantic would have liked, without its own "Input should be"."""
    return message.removeprefix("Input should be ").removeprefix("Value error, ")

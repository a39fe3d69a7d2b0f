"""Writing the TOML that recipes are made of; reading it is in the standard library."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def dumps(tables: Mapping[str, Any]) -> str:
    """A document: plain values first, a section for each table, and one for each table of a list of them."""
    plain = [f"{_key(key)} = {value(item)}" for key, item in tables.items() if not _sections(item)]
    sections = [
        "\n".join([f"\n{'[' * depth}{_key(key)}{']' * depth}", *(f"{_key(k)} = {value(v)}" for k, v in table.items())])
        for key, item in tables.items()
        if (depth := _sections(item))
        for table in (item if depth == 2 else [item])
    ]
    return "\n".join([*plain, *sections]) + "\n"


def value(item: Any) -> str:
    """A value on one line."""
    match item:
        case bool():
            return str(item).lower()
        case int() | float():
            return repr(item)
        case str():
            return json.dumps(item, ensure_ascii=False)
        case Mapping():
            return f"{{ {', '.join(f'{_key(key)} = {value(inner)}' for key, inner in item.items())} }}"
        case list() | tuple():
            return f"[{', '.join(map(value, item))}]"
    raise TypeError(f"TOML has no {type(item).__name__}")


def _sections(item: Any) -> int:
    """How many brackets stand around the name of its section; 0 where it has none."""
    if isinstance(item, Mapping):
        return 1
    return 2 * (isinstance(item, list) and bool(item) and all(isinstance(table, Mapping) for table in item))


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)

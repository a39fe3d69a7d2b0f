"""Registries: classes by name, "module:Class", imported on first use, so that names can be listed without torch."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any


def loaded(home: str) -> Any:
    """What stands at "module:Name"."""
    module, _, name = home.partition(":")
    return getattr(importlib.import_module(module), name)


def found(module: str, name: str, homes: Iterable[str]) -> Any:
    """The one of that name among `homes`, for the `__getattr__` of a module (PEP 562)."""
    for home in homes:
        if home.endswith(f":{name}"):
            return loaded(home)
    raise AttributeError(f"module {module!r} has no attribute {name!r}")

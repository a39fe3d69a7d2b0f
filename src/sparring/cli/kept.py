"""recipe.toml in the folder of a training: what is trained there, who began it, and whether its code is the same."""

from __future__ import annotations

import hashlib
import importlib.machinery
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparring.errors import InputError
from sparring.files import written

if TYPE_CHECKING:
    from sparring.training import Recipe

NAME = "recipe.toml"


def read(folder: Path) -> Recipe:
    """The recipe kept in a folder.

    Raises:
        InputError: it cannot be read, or was changed since it was written.
    """
    from sparring.sealed import FORMAT
    from sparring.training import Recipe

    found = Recipe.read(folder / NAME)
    kept = found.kept or {}
    if kept and kept.get("format") != FORMAT:
        raise InputError(
            f"{folder / NAME} was written by another version of sparring (format {kept.get('format')}, this one reads "
            f"{FORMAT}); to train by it, remove its table [kept] and give it as --recipe with another --out"
        )
    if not kept or kept.get("sha256") != _checksum(found, kept):
        raise InputError(
            f"{folder / NAME} is not as sparring train wrote it, so it says nothing of the training there; to train "
            f"by it, give it as --recipe {folder / NAME} with another --out"
        )
    return found


def keep(folder: Path, recipe: Recipe, command: str, device: str) -> None:
    """Write the recipe of a training; who goes on with one keeps who began it."""
    from tomli_w import dumps

    from sparring.sealed import FORMAT

    path = folder / NAME
    began = read(folder).kept if path.exists() else None
    code = _code(recipe.model)
    kept: dict[str, Any] = {
        "format": FORMAT,
        "command": (began or {}).get("command", command),
        "device": device,
        "code": "" if code is None else _sha256(code),
    }
    kept["sha256"] = _checksum(recipe, kept)
    lines = f"# Trained with: {kept['command']}\n# Go on with: {again(folder, device)}\n"
    written(path, (lines + dumps({**recipe.tables(), "kept": kept})).encode())


def again(folder: Path, device: str) -> str:
    """What to type to go on there."""
    words = ["sparring", "train", "--out", str(folder), *(["--device", device] if device != "cpu" else [])]
    return shlex.join(words)


def check_code(folder: Path, recipe: Recipe) -> None:
    """Look whether the code that a kept recipe names is the user's own, and what it was when the training began.

    A folder may have come from anywhere, and code must not run because a file in it says so: so it may name only a file
    outside of it, whose content it knows.

    Raises:
        InputError: it is not.
    """
    if recipe.model is None or recipe.model.startswith("zoo:"):
        return
    code = _code(recipe.model)
    known = (recipe.kept or {}).get("code")
    if code is None or not code.is_file():
        raise InputError(f"{folder} was trained from {recipe.model}, which is not here; go to the folder that has it")
    if code.resolve().is_relative_to(folder.resolve()) or _sha256(code) != known:
        raise InputError(
            f"{folder} was trained from {recipe.model}, whose code is another now, or lies in that folder; if you mean "
            f"it, name it: --model {recipe.model}"
        )


def _checksum(recipe: Recipe, kept: dict[str, Any]) -> str:
    from sparring.provenance import digest

    return digest([recipe.tables(), {key: value for key, value in kept.items() if key != "sha256"}])


def _code(model: str | None) -> Path | None:
    """The file of the code that "file.py:name" or "package.module:name" means, found without running any."""
    source, _, _ = (model or "").rpartition(":")
    if source in ("", "zoo"):
        return None
    if source.endswith(".py"):
        return Path(source)
    places: list[str] | None = [str(Path.cwd()), *sys.path]
    found = None
    for part in source.split("."):
        found = importlib.machinery.PathFinder.find_spec(part, places)
        if found is None:
            return None
        places = list(found.submodule_search_locations or [])
    return Path(found.origin) if found is not None and found.origin else None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

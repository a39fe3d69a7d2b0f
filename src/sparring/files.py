"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from sparring.errors import InputError, ResumeError
from sparring.locks import CLAIM, locked

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{16}")


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` in one step, once it is on the disk.

    A reader, a crash or a full disk never leaves half of it: the old file stays until the new one is whole.

    Raises:
        InputError: `path` is a link, through which nothing is written.
    """
    check_link(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, file = _temporary(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def written(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with replacing(path) as file:
        file.write(content)


def check_link(path: Path) -> None:
    """Raises InputError where `path` is a link."""
    if path.is_symlink():
        raise InputError(f"{path} is a link, and nothing is written through one; remove it, or choose another folder")


def check_unused(folder: Path, names: Iterable[str], sign: str | None) -> None:
    """Look whether a run may write files of these names into a folder.

    sign: what would say that they are the run's own; None where it is there.

    Raises:
        InputError: one is a link.
        ResumeError: there are some, and they are somebody else's.
    """
    for name in names:
        check_link(folder / name)
    there = [name for name in names if (folder / name).exists()]
    if there and sign is not None:
        raise ResumeError(
            f"{folder} has {', '.join(there)} and no {sign} that says whose they are; move them away, or choose "
            "another folder"
        )


def sweep(folder: Path, *names: str) -> None:
    """Remove what those left who died at work: temporary files of files of these names, patterns too, and claims.

    Who is still at work holds a lock on theirs.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        found = _TEMPORARY.fullmatch(path.name)
        left = path.name if found is None else found[1]
        if any(fnmatchcase(left, name) for name in (names if found else (CLAIM,))) and not path.is_symlink():
            with suppress(OSError), path.open("rb") as file:
                if locked(file, wait=False):
                    path.unlink(missing_ok=True)


def _temporary(path: Path) -> tuple[Path, IO[bytes]]:
    """A new file beside `path`, locked while it is open. Not by tempfile, whose files nobody else may read."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        file = os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb")
        locked(file, wait=True)
        if temporary.exists():  # else somebody swept it before it was locked
            return temporary, file
        file.close()

"""Locks that the system takes back when their holder dies, however it dies; none where it knows no such locks."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sparring.errors import InputError

CLAIM = ".[0-9][0-9][0-9][0-9][0-9][0-9].claim"  # the names of claims to one of many pieces of work
_UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


def opened(path: Path) -> IO[bytes]:
    """A file to read and write in place, made where there is none.

    Raises:
        InputError: it is a link, through which nothing is written.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK) or path.is_symlink():
            raise InputError(f"{path} is a link, and nothing is written through one; remove it") from error
        raise
    return os.fdopen(handle, "r+b")


def locked(file: IO[bytes], *, wait: bool) -> bool | None:
    """Whether the file is ours alone until it is closed; None where there are no locks (Windows, some network disks).

    With `wait`, who holds it is waited for.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _UNKNOWN:
            return None
        raise
    return True


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Whether the file of that name is ours alone; so it is too where the system knows no locks."""
    while True:
        with opened(path) as file:
            if locked(file, wait=False) is False:
                yield False
                return
            if _named(file, path):  # else who held it removed it, and others would lock another file of that name
                yield True
                return


def _named(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def claimed(path: Path, otherwise: bool) -> Iterator[bool]:
    """Whether the work that `path` stands for is ours; `otherwise` where there are no locks.

    The file goes when the work is done. So who gets a claim must look once more whether there is anything to do.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened(path) as file:
        held = locked(file, wait=False)
        yield otherwise if held is None else held
        if held is not False:
            path.unlink(missing_ok=True)

"""Clips named on the command line: files, folders and patterns; and where what is made of each of them goes."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sparring.errors import InputError

# What a folder is searched for; a file named outright may end in anything.
_ENDINGS = (
    "3gp apng asf avi f4v flv gif h264 h265 hevc ivf m1v m2ts m2v m4v mkv mov mp4 mpeg mpg mts mxf ogm ogv ts vob webm "
    "wmv y4m"
)
VIDEOS = frozenset(f".{ending}" for ending in _ENDINGS.split())


def clips(words: Iterable[str]) -> list[str]:
    """The files meant, each once, in the order in which they are named; a folder's by name, its subfolders too."""
    seen: dict[str, str] = {}
    for word in words:
        for path in _meant(word):
            seen.setdefault(os.path.realpath(path), path)
    return list(seen.values())


def _meant(word: str) -> list[str]:
    """The files that one word stands for. A file or folder of just that name goes before a pattern."""
    if os.path.isdir(word):
        return _inside(word)
    if os.path.exists(word):
        return [word]
    if not glob.has_magic(word):
        raise InputError(f"{word} does not exist: name a file, a folder, or a pattern such as 'clips/*.mp4'")
    matched = sorted(glob.glob(word, recursive=True))
    found = [path for one in matched for path in (_videos(one) if os.path.isdir(one) else [one])]
    if not found:
        raise InputError(f"{word} matches no file; a pattern such as 'clips/**/*.mp4' also looks into subfolders")
    return found


def _inside(folder: str) -> list[str]:
    found = sorted(_videos(folder))
    if not found:
        raise InputError(f"{folder} holds no video (looked for {' '.join(sorted(VIDEOS))}); name the files themselves")
    return found


def _videos(folder: str) -> Iterator[str]:
    for where, _, names in os.walk(folder):
        for name in sorted(names):
            if Path(name).suffix.lower() in VIDEOS and not name.startswith("."):
                yield os.path.join(where, name)


def file(option: str, given: str | None, suffix: str, inputs: Sequence[str]) -> Path | None:
    """A file to write for all clips together. Its ending must be right: so no clip is overwritten by a slip."""
    if given is None:
        return None
    if not given.lower().endswith(suffix):
        raise InputError(f"{option} is {given!r}; name a file that ends in {suffix}")
    return apart(option, Path(given), inputs)


def beside(option: str, given: str | None, suffix: str, inputs: Sequence[str]) -> list[Path] | None:
    """A file to write for each clip: the one given for a single clip, else in a folder that mirrors theirs."""
    if given is None:
        return None
    if given.lower().endswith(suffix):
        if len(inputs) > 1:
            raise InputError(f"{option} is {given}, one file for {len(inputs)} clips; name a folder")
        return [apart(option, Path(given), inputs)]
    if not given or os.path.isfile(given):
        raise InputError(f"{option} is {given!r}; name a folder, or for one clip a file that ends in {suffix}")
    root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in inputs])
    places = (os.path.relpath(os.path.abspath(path), root) for path in inputs)
    return [apart(option, Path(given, place + suffix), inputs) for place in places]


def apart(option: str, target: Path, inputs: Sequence[str]) -> Path:
    """A file to write, which is none of the clips."""
    if os.path.realpath(target) in map(os.path.realpath, inputs):
        raise InputError(f"{option} is {target}, one of the clips, which would be lost; name another file")
    return target

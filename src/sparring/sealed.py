"""Files that say what they are, whose they are, and whether they are whole: JSON, and tensors as safetensors.

A seal is a hash over all that a file says. It finds damage, not ill will: who changes a file may also seal it anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from sparring.provenance import canonical, digest, hash_tensors

FORMAT = 2  # of the files of a run; whoever changes what one of them holds raises it


_END = 22  # bytes of the end of a zip file without a comment


class Broken(Exception):
    """A file is damaged, of another format, or not what it should be; the text says which."""


def seal(records: Mapping[str, Any]) -> bytes:
    """Plain data as the JSON text of a file, with its `format` and `sha256`."""
    told = {"format": FORMAT, **{key: value for key, value in records.items() if key not in ("format", "sha256")}}
    return json.dumps({**told, "sha256": digest(told)}, indent=2).encode()


def unseal(content: bytes) -> dict[str, Any]:
    """What `seal` wrote, but for the hash.

    Raises:
        Broken: it is no such text, of another format, or not what was written.
    """
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Broken(f"it is no JSON text ({error})") from error
    if not isinstance(told, dict):
        raise Broken("it is none of ours")
    check_format(told.get("format"))
    if told.pop("sha256", None) != digest(told):
        raise Broken("it is not as it was written: its checksum differs")
    return told


def seal_tensors(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
    """Tensors as a safetensors file that says what they are `about`."""
    said = {**about, "format": str(FORMAT)}
    told = canonical({**said, "sha256": _digest(tensors, said)}).decode()
    return safetensors.torch.save(dict(tensors), {"sparring": told})  # one entry: the order of several is random


def unseal_tensors(content: bytes, about: Mapping[str, str]) -> dict[str, Tensor]:
    """What `seal_tensors` wrote.

    Raises:
        Broken: it is no such file, of another format, about something else, or not what was written.
    """
    try:
        tensors = safetensors.torch.load(content)
        said = dict(json.loads(_told(content) or "{}"))
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Broken(f"it is no safetensors file ({error})") from error
    check_format(said.get("format"))
    if said.pop("sha256", None) != _digest(tensors, said):
        raise Broken("it is not as it was written: its checksum differs")
    for key, wanted in about.items():
        if said.get(key) != wanted:
            raise Broken(f"its {key} is {said.get(key)!r}, not {wanted!r}")
    return tensors


def sealed(content: bytes) -> bool:
    """Whether a safetensors file says that it was sealed."""
    try:
        return _told(content) is not None
    except (ValueError, AttributeError):
        return False


def _told(content: bytes) -> str | None:
    """What a safetensors file says of itself under our name."""
    length = int.from_bytes(content[:8], "little")
    told = json.loads(content[8 : 8 + length]).get("__metadata__", {}).get("sparring")
    return None if told is None else str(told)


def seal_archive(content: bytes) -> bytes:
    """The bytes of a zip file, such as torch.save makes, with a hash over all of them as the comment at its end."""
    mark = f"sparring {FORMAT} {hashlib.sha256(content).hexdigest()}".encode()
    if content[-_END:][:4] != b"PK\5\6" or content[-2:] != b"\0\0":
        raise Broken("it is no zip file, or has a comment already")
    return content[:-2] + len(mark).to_bytes(2, "little") + mark


def unseal_archive(content: bytes) -> None:
    """Look whether a zip file is as `seal_archive` left it.

    Raises:
        Broken: it is none, of another format, or not what was written.
    """
    if content[:4] != b"PK\3\4":
        raise Broken("it is no zip file")
    whole, found, mark = content.rpartition(b"sparring ")
    words = mark.split()
    if not found or len(words) != 2 or whole[-2:] != len(found + mark).to_bytes(2, "little"):
        check_format(None)
    check_format(words[0].decode("ascii", "replace"))
    if hashlib.sha256(whole[:-2] + b"\0\0").hexdigest().encode() != words[1]:
        raise Broken("it is not as it was written: its checksum differs")


def check_format(found: object) -> None:
    """Raises Broken for another format than the one that is read here."""
    if str(found) != str(FORMAT):
        by = "an older version" if found is None or str(found) in map(str, range(FORMAT)) else "another version"
        raise Broken(f"it was written by {by} of sparring (format {found}, this one reads {FORMAT})")


def _digest(tensors: Mapping[str, Tensor], said: Mapping[str, str]) -> str:
    return digest([canonical(dict(said)).decode(), hash_tensors(sorted(tensors.items()))])

"""Files that say what they are, whose they are, and whether they are whole: JSON, and tensors as safetensors.

A seal is a hash over all that a file says. It finds damage, not ill will: who changes a file may also seal it anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from sparring.provenance import canonical, digest, hash_tensors

FORMAT = 2  # of the files of a run; whoever changes what one of them holds raises it


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
    except ValueError as error:
        raise Broken(f"it is no JSON text ({error})") from error
    if not isinstance(told, dict):
        raise Broken("it is none of ours")
    _check_format(told.get("format"))
    if told.pop("sha256", None) != digest(told):
        raise Broken("it is not as it was written: its checksum differs")
    return told


def seal_tensors(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
    """Tensors as a safetensors file that says what they are `about`."""
    said = {**about, "format": str(FORMAT)}
    return safetensors.torch.save(dict(tensors), {**said, "sha256": _digest(tensors, said)})


def unseal_tensors(content: bytes, about: Mapping[str, str]) -> dict[str, Tensor]:
    """What `seal_tensors` wrote.

    Raises:
        Broken: it is no such file, of another format, about something else, or not what was written.
    """
    try:
        tensors = safetensors.torch.load(content)
        length = int.from_bytes(content[:8], "little")
        said = dict(json.loads(content[8 : 8 + length]).get("__metadata__", {}))
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Broken(f"it is no safetensors file ({error})") from error
    _check_format(said.get("format"))
    if said.pop("sha256", None) != _digest(tensors, said):
        raise Broken("it is not as it was written: its checksum differs")
    for key, wanted in about.items():
        if said.get(key) != wanted:
            raise Broken(f"its {key} is {said.get(key)!r}, not {wanted!r}")
    return tensors


def _check_format(found: object) -> None:
    if str(found) != str(FORMAT):
        by = "an older version" if found is None or str(found) < str(FORMAT) else "another version"
        raise Broken(f"it was written by {by} of sparring (format {found}, this one reads {FORMAT})")


def _digest(tensors: Mapping[str, Tensor], said: Mapping[str, str]) -> str:
    return digest([canonical(dict(said)).decode(), hash_tensors(sorted(tensors.items()))])

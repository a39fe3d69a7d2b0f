"""A run on disk: a header that says what is being measured, and one file for every finished block.

Files are written whole or not at all, so a run killed anywhere goes on from its last finished block.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from sparring.errors import ResumeError
from sparring.evaluation.block import Block
from sparring.files import written

# What may differ between the session that began a run and the one that goes on with it.
CIRCUMSTANCES = ("command", "versions", "started")


@dataclass(frozen=True)
class Run:
    """The folder of a run and its header."""

    folder: Path
    header: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, header: dict[str, Any], resume: bool, block_size: int | None) -> Run:
        """Begin a run in `folder`, or go on with the one there if it measures the same.

        Raises:
            ResumeError: the folder holds another run (the first difference is named), or resume is False.
        """
        path = folder / "run.json"
        if path.exists():
            if not resume:
                raise ResumeError(f"{folder} holds a run already; remove it, choose another folder, or resume it")
            try:
                found = json.loads(path.read_text())
            except ValueError as error:
                raise ResumeError(f"{path} cannot be read ({error}); remove the folder to start again") from error
            header = dict(header)
            if block_size is None:
                header["block_size"] = found.get("block_size")  # settled once, by the session that began
            for name, value in header.items():
                if name not in CIRCUMSTANCES and found.get(name) != value:
                    raise ResumeError(
                        f"{folder} belongs to another run: its {name} is {found.get(name)!r}, this one's {value!r}. "
                        "Give this one another folder"
                    )
            return cls(folder, found)
        written(path, json.dumps(header, indent=2).encode())
        return cls(folder, header)

    def _path(self, number: int) -> Path:
        return self.folder / "blocks" / f"{number:06d}.safetensors"

    def load(self, number: int) -> Block | None:
        """A finished block, or None.

        Raises:
            ResumeError: the file is damaged.
        """
        path = self._path(number)
        if not path.exists():
            return None
        try:
            tensors = safetensors.torch.load_file(path)
            return Block(**{field.name: tensors[field.name] for field in fields(Block)})
        except (SafetensorError, KeyError) as error:
            raise ResumeError(f"{path} is damaged ({error}); remove this file to compute it again") from error

    def save(self, number: int, block: Block) -> None:
        """Keep a finished block."""
        tensors = {field.name: getattr(block, field.name).contiguous() for field in fields(Block)}
        written(self._path(number), safetensors.torch.save(tensors))

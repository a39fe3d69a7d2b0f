"""A run on disk: a header that says what is being measured, and one file for every finished block.

Files are written whole or not at all, so a run killed anywhere goes on from its last finished block.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from sparring.errors import ResumeError
from sparring.evaluation.block import Block
from sparring.evaluation.curve import Traced
from sparring.evaluation.header import Header, difference, numbers
from sparring.evaluation.ledger import Ledger
from sparring.evaluation.locks import claimed, locked
from sparring.files import written

# By who began; those that go on need not know them. The first do not depend on the batch size that one may name.
ALWAYS = ("threads", "understanding", "measured")
SETTLED = (*ALWAYS, "block_size", "settings")


@dataclass(frozen=True)
class Run:
    """The folder of a run and its header."""

    folder: Path
    header: Header

    @classmethod
    def open(cls, folder: Path, header: Header, resume: bool, block_size: int | None) -> Run:
        """Begin a run in `folder`, or go on with the one there if it measures the same.

        A folder that holds a header alone is a run not begun: what it settles holds, who begins is told anew.

        Raises:
            InputError: the header is that of a shard without a block.
            ResumeError: the folder holds another run (the first difference is named), or resume is False.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("ab") as lock:  # several may begin at once
            locked(lock, wait=True)
            run = cls(folder, header)
            if (folder / "run.json").exists():
                run = cls.at(folder)
                if run.begun and not resume:
                    raise ResumeError(f"{folder} holds a run already; remove it, choose another folder, or resume it")
                kept = [name for name in SETTLED if name in ALWAYS or block_size is None]
                header = {**header, **{name: run.header.get(name) for name in kept}}
                run._compare(header)
                if not run.begun:
                    run = cls(folder, header)
            numbers(run.header)  # a shard without a block is refused before anything is written
            if not run.begun:
                written(folder / "run.json", json.dumps(run.header, indent=2).encode())
                run.blocks.mkdir(exist_ok=True)
        return run

    @classmethod
    def at(cls, folder: Path) -> Run:
        """The run in a folder.

        Raises:
            ResumeError: there is none, or its header is damaged.
        """
        path = folder / "run.json"
        try:
            return cls(folder, json.loads(path.read_text()))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ResumeError(f"{folder} holds no run: there is no run.json in it; name the folder of a run") from error
        except ValueError as error:
            raise ResumeError(f"{path} cannot be read ({error}); remove the folder to start again") from error

    @property
    def blocks(self) -> Path:
        """The folder of the finished blocks, which is there once the run has begun."""
        return self.folder / "blocks"

    @property
    def begun(self) -> bool:
        return self.blocks.exists()

    def path(self, number: int) -> Path:
        """Where a block is, once it is finished."""
        return self.blocks / f"{number:06d}.safetensors"

    def load(self, number: int) -> Block | None:
        """A finished block, or None.

        Raises:
            ResumeError: the file is damaged.
        """
        path = self.path(number)
        if not path.exists():
            return None
        try:
            tensors = safetensors.torch.load_file(path)
            kind = Traced if self.header.get("eps") else Block
            return kind(**{field.name: tensors[field.name] for field in fields(kind)})
        except (SafetensorError, KeyError) as error:
            raise ResumeError(f"{path} is damaged ({error}); remove this file to compute it again") from error

    def save(self, number: int, block: Block) -> None:
        """Keep a finished block."""
        tensors = {field.name: getattr(block, field.name).contiguous() for field in fields(block)}
        written(self.path(number), safetensors.torch.save(tensors))

    @contextmanager
    def claim(self, number: int, otherwise: bool) -> Iterator[bool]:
        """Whether this process may work on a block; `otherwise` where the system knows no locks."""
        with claimed(self.blocks / f".{number:06d}.claim", otherwise) as ours:
            yield ours

    def ledger(self, numbers: range, leads: bool = True) -> Ledger:
        """The ledger of these blocks; see Ledger for `leads`."""
        return Ledger(self.folder, numbers, [rung["name"] for rung in self.header["attacks"]], leads)

    def _compare(self, header: Header) -> None:
        other = difference(self.header, header)
        if other is None and self.begun and self.header.get("shard") != header["shard"]:
            other = "shard", self.header.get("shard"), header["shard"]
        if other is not None:
            name, found, wanted = other
            raise ResumeError(
                f"{self.folder} belongs to another run: its {name} is {found!r}, this one's {wanted!r}. "
                "Give this one another folder"
            )

"""A run on disk: a header that says what is being measured, and one file for every finished block.

Files are written whole or not at all, so a run killed anywhere goes on from its last finished block. Each says whose it
is and carries a checksum: what does not fit is computed again, never used.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from sparring.errors import InputError, ResumeError, SparringWarning
from sparring.evaluation.block import ROBUST, Block
from sparring.evaluation.curve import Traced
from sparring.evaluation.header import Header, difference, numbers, places
from sparring.evaluation.ledger import Ledger
from sparring.files import check_unused, sweep, written
from sparring.locks import claimed, locked, opened
from sparring.sealed import Broken, seal, seal_tensors, unseal, unseal_tensors

# By who began; those that go on need not know them. The first do not depend on the batch size that one may name.
ALWAYS = ("threads", "understanding", "measured")
SETTLED = (*ALWAYS, "block_size", "settings")
KIND = "evaluation"
WRITTEN = ("blocks", "ledger.jsonl", "results.json", "adversarial.safetensors", "images", "picture.png")


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
            InputError: the header is that of a shard without a block, or the folder is a file.
            ResumeError: the folder holds another run (the first difference is named), files of somebody else's under
                the names of ours, or a run and resume is False.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError(f"out={str(folder)!r} is a file, or lies in one; name a folder") from error
        with opened(folder / ".lock") as lock:  # several may begin at once
            locked(lock, wait=True)
            run = cls(folder, header)
            check_unused(folder, ("run.json",), None)
            if (folder / "run.json").exists():
                run = cls.at(folder)
                if run.begun and not resume:
                    raise ResumeError(f"{folder} holds a run already; remove it, choose another folder, or resume it")
                kept = [name for name in SETTLED if name in ALWAYS or block_size is None]
                header = {**header, **{name: run.header.get(name) for name in kept}}
                run._compare(header)
                if not run.begun:
                    run = cls(folder, header)
            known = (folder / "run.json").exists()
            check_unused(folder, WRITTEN, None if known and run.begun else "block" if known else "run.json")
            numbers(run.header)  # a shard without a block is refused before anything is written
            sweep(folder, "run.json", *WRITTEN)
            sweep(run.blocks, "*.safetensors", "audit.json")
            if not run.begun:
                written(folder / "run.json", seal({"kind": KIND, **run.header}))
                run.blocks.mkdir(exist_ok=True)
        return run

    @classmethod
    def at(cls, folder: Path) -> Run:
        """The run in a folder.

        Raises:
            ResumeError: there is none, or its header is damaged, of another format, or a training's.
        """
        path = folder / "run.json"
        try:
            header = unseal(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ResumeError(f"{folder} holds no run: there is no run.json in it; name the folder of a run") from error
        except (Broken, OSError) as error:
            raise ResumeError(f"{path} cannot be used: {error}. Remove the folder to start again") from error
        if header.pop("kind", None) != KIND:
            raise ResumeError(f"{folder} does not hold an evaluation; choose another folder")
        return cls(folder, header)

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
        """A finished block, or None: also where a file stands in its place that is not this block, with a warning."""
        try:
            return self.read(number)
        except FileNotFoundError:
            return None
        except Broken as why:
            warnings.warn(
                f"{self.path(number)} is not used: {why}. It is computed again", SparringWarning, stacklevel=2
            )
            return None

    def read(self, number: int) -> Block:
        """A finished block.

        Raises:
            FileNotFoundError: it is not finished.
            Broken: the file is damaged, or another block than this.
        """
        content = self.path(number).read_bytes()
        tensors = unseal_tensors(content, self._about(number))
        kind = Traced if self.header.get("eps") else Block
        if tensors.keys() != {field.name for field in fields(kind)}:
            raise Broken("it has other columns than a block")
        self._check(tensors, number)
        return kind(**tensors)

    def save(self, number: int, block: Block) -> None:
        """Keep a finished block."""
        tensors = {field.name: getattr(block, field.name).contiguous() for field in fields(block)}
        written(self.path(number), seal_tensors(tensors, self._about(number)))

    @contextmanager
    def claim(self, number: int, otherwise: bool) -> Iterator[bool]:
        """Whether this process may work on a block; `otherwise` where the system knows no locks."""
        with claimed(self.blocks / f".{number:06d}.claim", otherwise) as ours:
            yield ours

    def ledger(self, numbers: range, leads: bool = True) -> Ledger:
        """The ledger of these blocks; see Ledger for `leads`."""
        return Ledger(self.folder, self.header, numbers, leads)

    def _about(self, number: int) -> dict[str, str]:
        return {"run": self.header["run"], "block": str(number)}

    def _check(self, tensors: dict[str, Tensor], number: int) -> None:
        """Raises Broken where a block could not be one of this run."""
        rungs, wanted = len(self.header["attacks"]), places(self.header, number)
        if tensors["index"].tolist() != wanted.tolist():
            raise Broken("it holds the examples of another block")
        if any(not tensor.ndim or len(tensor) != len(wanted) for tensor in tensors.values()):
            raise Broken("its columns have not one row an example")
        by = tensors["broken_by"]
        if not bool(((by >= ROBUST) & (by <= rungs)).all()) or tensors["forwards"].shape[1:] != (2 + rungs,):
            raise Broken(f"it is of another plan than one of {rungs} attacks")
        if not bool((tensors["seconds"] >= 0).all() & torch.isfinite(tensors["seconds"]).all()):
            raise Broken("its seconds are no times")

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

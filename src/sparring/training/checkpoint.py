"""The folder of a training run: one checkpoint, replaced whole at every epoch, the network so far, and the metrics.

One process at a time trains in a folder: `.training` is its lock, there until the training is finished.

`checkpoint.pt` says whose it is, carries a checksum, holds tensors and primitives only, and loads with
`weights_only=True`; the weights being learned lie under "model". `model.safetensors` is the network as `train` would
return it now (averaged, of the best epoch), for `--weights`. `metrics.jsonl` repeats the history, an epoch a line; with
TensorBoard installed it goes to `tensorboard/` too.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparring.answers import alike, told
from sparring.errors import InputError, ResumeError
from sparring.files import check_unused, sweep, written
from sparring.locks import alone
from sparring.model import Model
from sparring.provenance import Plain, difference
from sparring.sealed import FORMAT, Broken, seal_archive, seal_tensors, unseal_archive

Record = dict[str, float]
WRITTEN = ("checkpoint.pt", "model.safetensors", "metrics.jsonl", "recipe.toml", "tensorboard", "teacher")


@dataclass(frozen=True)
class Folder:
    """Where a run is kept, and what tells it from other runs.

    Raises:
        InputError: the path is a file.
        ResumeError: `resume` is False and the folder already keeps a run.
    """

    path: Path
    header: dict[str, Plain]
    resume: bool = True

    def __post_init__(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"out={str(self.path)!r} is a file; name a folder")
        if self.checkpoint.exists() and not self.resume:
            raise ResumeError(
                f"{self.path} already keeps a run, and resume=False would overwrite it; remove the folder, or "
                "choose another"
            )

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    def save(self, state: dict[str, Any], network: nn.Module) -> None:
        """Replace the checkpoint; a crash at any moment leaves the old one or the new one, whole."""
        # The checkpoint comes last: where it says that a run is finished, so are the other files.
        self.tell(state["history"], network)
        self._board(state["history"][-1])
        content = io.BytesIO()  # straight to a full disk, torch would say something else
        torch.save({"format": FORMAT, "header": self.header, **state}, content)
        written(self.checkpoint, seal_archive(content.getvalue()))

    def restore(self) -> dict[str, Any] | None:
        """What was saved at the last finished epoch; None for a new run.

        Raises:
            ResumeError: the checkpoint is damaged, or of another run; the message names the first difference.
        """
        if not self.checkpoint.exists():
            return None
        try:
            content = self.checkpoint.read_bytes()
            unseal_archive(content)
            state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:
            why = str(error) if isinstance(error, Broken) else type(error).__name__
            raise ResumeError(
                f"{self.checkpoint} is no readable checkpoint of a training: {why}; remove the folder, or choose "
                "another"
            ) from error
        found = _difference(state.pop("header"), self.header)
        if found is not None:
            name, theirs, ours = found
            raise ResumeError(
                f"{self.path} keeps another run: there the {name} is {theirs}, here it is {ours}; go on "
                "with the same, or choose another folder"
            )
        return state

    def tell(self, history: list[Record], network: nn.Module) -> None:
        """Write the network and the metrics."""
        inner = network.net if isinstance(network, Model) else network
        assert isinstance(inner, nn.Module)  # it has weights
        whole = {name: value.detach().cpu().clone().contiguous() for name, value in inner.state_dict().items()}
        written(self.path / "model.safetensors", seal_tensors(whole, {"kind": "weights"}))
        lines = (json.dumps({"format": FORMAT, **record}) for record in history)
        written(self.path / "metrics.jsonl", b"".join(f"{line}\n".encode() for line in lines))

    def _board(self, record: Record) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        epoch = int(record["epoch"])
        with SummaryWriter(str(self.path / "tensorboard"), purge_step=epoch) as writer:
            for name, value in record.items():
                if name != "epoch":
                    writer.add_scalar(name, value, epoch)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """A folder for this process alone, made before anything is learned that it could not keep.

    Raises:
        InputError: it is a file, it cannot be written to, or what would be written is a link.
        ResumeError: another process trains in it, or it has files of somebody else's under the names of ours.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"out={str(path)!r} is a file, or lies in one; name a folder") from error
    if not os.access(path, os.W_OK):
        raise InputError(f"out={str(path)!r} cannot be written to; name another folder")
    mark = path / ".training"
    marked, saved = mark.exists(), (path / "checkpoint.pt").exists()
    names = (*WRITTEN, *sorted(one.name for one in path.glob("teacher-[0-9]*")))
    check_unused(path, names, None if marked or saved else "checkpoint")
    with alone(mark) as ours:
        if not ours:
            raise ResumeError(f"another process trains in {path}; wait for it, or choose another folder")
        sweep(path, *WRITTEN)
        try:
            yield
        except BaseException:
            # Where it stays, the files of these names are ours: not where a checkpoint was there that may be another's.
            if (saved and not marked) or not any((path / name).exists() for name in WRITTEN):
                mark.unlink(missing_ok=True)
            raise
        mark.unlink(missing_ok=True)


def _difference(theirs: Mapping[str, Plain], ours: Mapping[str, Plain]) -> tuple[str, Plain, Plain] | None:
    """The first entry in which two headers differ, by name; the network's answers may differ by rounding."""
    for name in dict.fromkeys([*ours, *theirs]):
        one, other = theirs.get(name), ours.get(name)
        if name == "answers" and one and other:
            if not alike(one, other):
                return "network's answer to the first example", told(one["logits"][0]), told(other["logits"][0])
        elif isinstance(one, str) and isinstance(other, str):
            if one != other:
                return name, one, other
        elif (found := difference(one, other, name)) is not None:
            return found
    return None

"""The folder of a training run: one checkpoint, replaced whole at every epoch, the network so far, and the metrics.

`checkpoint.pt` holds tensors and primitives only and loads with `weights_only=True`; the weights being learned lie
under "model". `model.safetensors` is the network as `train` would return it now (averaged, of the best epoch), for
`--weights`. `metrics.jsonl` repeats the history, one epoch a line; with TensorBoard installed it goes to `tensorboard/`
too.
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from sparring.errors import InputError, ResumeError
from sparring.files import written
from sparring.model import Model

Record = dict[str, float]


@dataclass(frozen=True)
class Folder:
    """Where a run is kept, and what tells it from other runs.

    Raises:
        InputError: the path is a file.
        ResumeError: `resume` is False and the folder already keeps a run.
    """

    path: Path
    header: dict[str, str]
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
        torch.save({"header": self.header, **state}, content)
        written(self.checkpoint, content.getvalue())

    def restore(self) -> dict[str, Any] | None:
        """What was saved at the last finished epoch; None for a new run.

        Raises:
            ResumeError: the checkpoint is damaged, or of another run; the message names the first difference.
        """
        if not self.checkpoint.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            header, _ = dict(state.pop("header")), list(state["history"])
        except Exception as error:
            raise ResumeError(
                f"{self.checkpoint} is no readable checkpoint of a training ({type(error).__name__}); remove "
                "the folder, or choose another"
            ) from error
        for name in (*self.header, *(name for name in header if name not in self.header)):
            ours, theirs = self.header.get(name), header.get(name)
            if theirs != ours:
                raise ResumeError(
                    f"{self.path} keeps another run: there the {name} is {theirs}, here it is {ours}; go on "
                    "with the same, or choose another folder"
                )
        return state

    def ready(self) -> None:
        """Make the folder, before anything is learned that it could not keep."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not os.access(self.path, os.W_OK):
            raise InputError(f"out={str(self.path)!r} cannot be written to; name another folder")

    def tell(self, history: list[Record], network: nn.Module) -> None:
        """Write the network and the metrics."""
        inner = network.net if isinstance(network, Model) else network
        assert isinstance(inner, nn.Module)  # it has weights
        whole = {name: value.detach().cpu().clone().contiguous() for name, value in inner.state_dict().items()}
        written(self.path / "model.safetensors", safetensors.torch.save(whole))
        written(self.path / "metrics.jsonl", b"".join(f"{json.dumps(record)}\n".encode() for record in history))

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

"""The folder of a training run: one checkpoint, replaced whole at every epoch, and the metrics to read.

`checkpoint.pt` holds tensors and primitives only and loads with `weights_only=True`; its weights lie under
"model", so the file serves as `--weights`. `metrics.jsonl` repeats the history, one epoch a line.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparring.errors import InputError, ResumeError
from sparring.files import replacing

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

    def save(self, net: nn.Module, optimizer: torch.optim.Optimizer, history: list[Record]) -> None:
        """Replace the checkpoint; a crash at any moment leaves the old one or the new one, whole."""
        state = {
            "header": self.header,
            "model": net.state_dict(),
            "buffers": dict(net.named_buffers()),  # a state dict leaves out those that are not persistent
            "optimizer": optimizer.state_dict(),
            "history": history,
        }
        with replacing(self.checkpoint) as file:
            torch.save(state, file)
        self._tell(history)

    def restore(self, net: nn.Module, optimizer: torch.optim.Optimizer) -> list[Record]:
        """Put the last finished epoch into `net` and `optimizer`; returns the history, empty for a new run.

        Raises:
            ResumeError: the checkpoint is damaged, or of another run; the message names the first difference.
        """
        if not self.checkpoint.exists():
            return []
        try:
            state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            header, history = dict(state["header"]), list(state["history"])
        except Exception as error:
            raise ResumeError(
                f"{self.checkpoint} is no readable checkpoint of a training ({type(error).__name__}); remove "
                "the folder, or choose another"
            ) from error
        for name, ours in self.header.items():
            if (theirs := header.get(name)) != ours:
                raise ResumeError(
                    f"{self.path} keeps another run: there the {name} is {theirs}, here it is {ours}; go on "
                    "with the same, or choose another folder"
                )
        net.load_state_dict(state["model"])
        for name, buffer in net.named_buffers():
            buffer.copy_(state["buffers"][name])
        optimizer.load_state_dict(state["optimizer"])
        self._tell(history)
        return history

    def _tell(self, history: list[Record]) -> None:
        with replacing(self.path / "metrics.jsonl") as file:
            file.writelines(f"{json.dumps(record)}\n".encode() for record in history)

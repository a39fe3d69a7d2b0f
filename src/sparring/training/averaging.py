"""The exponential moving average of a network: its weights and the statistics of its BatchNorm alike."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """A network that follows another; early on faster: it keeps min(decay, (1 + t) / (10 + t)) after t updates."""

    def __init__(self, leader: nn.Module, follower: nn.Module, decay: float) -> None:
        self.net = follower
        self.decay = decay
        self.updates = 0
        self._leader = leader

    def update(self) -> None:
        """Follow by one step; what is no floating number, such as a counter, is copied."""
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        ahead = tensors(self._leader)
        with torch.no_grad():
            for name, ours in tensors(self.net).items():
                if ours.is_floating_point():
                    ours.lerp_(ahead[name], 1 - keep)
                else:
                    ours.copy_(ahead[name])

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"updates": self.updates, "tensors": tensors(self.net)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.updates = state["updates"]
        fill(self.net, state["tensors"])


def tensors(net: nn.Module) -> dict[str, Tensor]:
    """All weights and buffers by name, those outside the state dict too."""
    return {name: value.detach() for name, value in (*net.named_parameters(), *net.named_buffers())}


def fill(net: nn.Module, values: dict[str, Tensor]) -> None:
    """Copy values into all weights and buffers."""
    with torch.no_grad():
        for name, tensor in tensors(net).items():
            tensor.copy_(values[name])

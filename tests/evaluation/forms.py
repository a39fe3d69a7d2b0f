"""Networks with batch normalisation that has seen data, and clocks that only they wind."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def points(rows: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.rand(rows, *shape, generator=torch.Generator().manual_seed(seed))


def lived(net: nn.Module) -> nn.Module:
    """`net` with statistics as of training, in evaluation mode."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.2, 4)
            if module.weight is not None:
                module.weight.data.normal_()
                module.bias.data.normal_()
    return net.eval()


def convolutional() -> nn.Module:
    one = nn.Conv2d(2, 8, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(8), nn.ReLU()
    two = nn.Conv2d(8, 4, 3, stride=2), nn.BatchNorm2d(4, affine=False), nn.Tanh()
    return nn.Sequential(*one, *two, nn.Flatten(), nn.Linear(16, 5), nn.BatchNorm1d(5))


class Clock:
    """Seconds that pass only where a network says so; a copy of the network winds the same clock."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-3  # so that whoever waits for it is let go
        return self.now

    def __deepcopy__(self, memo: Any) -> Clock:
        return self


class Ticking(Clock):
    """A second whenever it is read."""

    def __call__(self) -> float:
        self.now += 1
        return self.now

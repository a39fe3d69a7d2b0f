"""Optimizers as frozen values, for `optimizer=` of `sparring.train`.

Weight decay is for matrices and convolutions; biases and the scales of normalisation (fewer than two dimensions)
are left alone, as is usual for adversarial training.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import nn

from sparring.errors import InputError
from sparring.values import Amount, Range, check_fields

Momentum = Annotated[float, Range(0, 1, below=True)]  # from 1 on, no step is ever forgotten


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum, Nesterov's or the usual one."""

    lr: Amount = 0.1
    momentum: Momentum = 0.9
    weight_decay: Amount = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.nesterov and not self.momentum:
            raise InputError("SGD has nesterov=True and momentum=0; give a momentum such as 0.9")

    def __call__(self, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        groups = decayed(weights, self.weight_decay)
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015); weight decay is added to the gradient."""

    lr: Amount = 1e-3
    weight_decay: Amount = 0.0

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(decayed(weights, self.weight_decay), lr=self.lr)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    lr: Amount = 1e-3
    weight_decay: Amount = 0.01

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(decayed(weights, self.weight_decay), lr=self.lr)


OPTIMIZERS: dict[str, type[SGD] | type[Adam] | type[AdamW]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}


def decayed(weights: Iterable[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """The weights in groups: those that decay, and those that do not."""
    every = list(weights)
    matrices, others = ([w for w in every if (w.ndim > 1) == wide] for wide in (True, False))
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]

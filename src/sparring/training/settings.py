"""How to train, apart from what is learned: everything that makes two runs the same run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sparring.draws import Draws
from sparring.errors import InputError
from sparring.problem import Threat
from sparring.threats.ball import Norm
from sparring.training.augmentation import Augmentation, augmented
from sparring.training.schedules import Schedule
from sparring.values import LARGEST, SEED, check_whole

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
_CALLABLE = {
    "optimizer": "give what makes one of the weights, such as sparring.training.SGD(0.1)",
    **dict.fromkeys(("schedule", "radius", "effort"), "give a function of the share done, such as OneCycle()"),
}
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Settings:
    """The arguments of `sparring.train`, checked; see there.

    Raises:
        InputError: an argument cannot be used.
    """

    epochs: int = 30
    batch_size: int = 64
    lr: float | None = None
    optimizer: MakeOptimizer | None = None
    schedule: Schedule | None = None
    radius: Schedule | None = None
    effort: Schedule | None = None
    augment: Sequence[Augmentation] = ()
    label_smoothing: float = 0.0
    ema: float | None = None
    clip: float | None = None
    precision: Precision = "float32"
    channels_last: bool = False
    compile: bool = False
    validation: float = 0
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, check_whole(name, value))
        object.__setattr__(self, "seed", check_whole("seed", self.seed, SEED))
        for name in ("optimizer", "schedule", "radius", "effort"):
            value = getattr(self, name)
            made = callable(value) and (name == "optimizer" or not isinstance(value, type))  # not Cosine for Cosine()
            if value is not None and not made:
                raise InputError(f"{name} is {value!r}; {_CALLABLE[name]}")
        for name in ("lr", "label_smoothing", "ema", "clip", "validation"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise InputError(f"{name} is {value!r}; give a number")
        if self.lr is not None and not 0 < self.lr <= LARGEST:
            raise InputError(f"lr is {self.lr!r}; give a finite number above 0")
        if not isinstance(self.augment, list | tuple) or not all(map(callable, self.augment)):
            raise InputError(
                f"augment is {self.augment!r}; give a tuple of augmentations, such as (PadCrop(4), Flip())"
            )
        object.__setattr__(self, "augment", tuple(self.augment))
        for name, low, high in (("label_smoothing", 0.0, 1.0), ("ema", 0.0, 1.0)):
            value = getattr(self, name)
            if value is not None and not low <= value < high:
                raise InputError(f"{name} is {value!r}; give a number in [{low:g}, {high:g})")
        if self.clip is not None and not self.clip > 0:
            raise InputError(f"clip is {self.clip!r}; give the largest norm a gradient may have, above 0, or None")
        if self.lr is not None and self.optimizer is not None:
            raise InputError(
                f"lr is {self.lr}, but an optimizer is given, which has a rate of its own: pass one of the two"
            )
        if self.precision not in ("float32", "bfloat16"):
            raise InputError(f"precision is {self.precision!r}; use 'float32' or 'bfloat16'")
        if not 0 <= self.validation < math.inf or (self.validation >= 1 and isinstance(self.validation, float)):
            raise InputError(f"validation is {self.validation!r}; give a share in [0, 1), or how many examples")
        if self.patience is not None and not self.validation:
            raise InputError(
                f"patience is {self.patience}, and nothing is held out to be patient about: set validation"
            )

    def learner(self, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer, Adam by default."""
        if self.optimizer is not None:
            return self.optimizer(weights)
        return torch.optim.Adam(weights, lr=1e-3 if self.lr is None else self.lr)

    @property
    def paced(self) -> bool:
        """Whether anything depends on the share of the training that is done, and so on the number of epochs."""
        return any(schedule is not None for schedule in (self.schedule, self.radius, self.effort))

    def threat(self, threat: Threat | None, done: float) -> Threat | None:
        """The threat at this point of the training."""
        if threat is None or self.radius is None:
            return threat
        if not isinstance(threat, Norm):
            raise InputError(f"radius is given, and {threat!r} is no norm whose radius could be scheduled")
        return threat.scaled(self.radius(done))

    def batch(self, x: Tensor, index: Tensor, epoch: int) -> Tensor:
        """The examples of a batch as they are learned from, new tensors."""
        x = augmented(x, self.augment, Draws(self.seed, ("augment",)), index, epoch)
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last and x.ndim == 4 else x

    def header(self) -> dict[str, Any]:
        """What must be the same for a run to be this one; how many epochs only where something depends on it."""
        kept = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("lr", "optimizer", "patience", *(() if self.paced else ("epochs",))):
            del kept[name]  # the optimizer is told as it was made
        for name in ("schedule", "radius", "effort"):
            schedule = kept[name]
            if schedule is not None and not is_dataclass(schedule):  # a function does not show what it does
                kept[name] = (schedule, [schedule(done / 10) for done in range(1, 10)])
        return kept

"""Thermometer encoding (Buckman et al. 2018, "Thermometer encoding: one hot way to resist adversarial examples")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from sparring.defenses.masking.transform import Stage, Transform
from sparring.values import Range


@dataclass(frozen=True)
class Thermometer(Transform):
    """Writes every input value as `levels` bits; rounded to a number of levels, that many of its bits are 1.

    It turns C channels into C · levels, those of one channel side by side, for a network made for that many:
    sp.train(Thermometer(8)(SmallCNN(in_channels=8)), …). It promises a network too curved for small steps. A bit has no
    slope; with soft bits in their place backward (BPDA) Athalye et al. (2018, section 5.1.2) bring it to 0 %.
    """

    levels: Annotated[int, Range(2)] = 16
    promise: ClassVar[str] = "inputs in steps, which small perturbations do not climb"
    broken_by: ClassVar[str] = "PGD through soft bits instead of hard ones (BPDA)"

    def before(self, bounds: tuple[float, float]) -> Bits:
        return Bits(self, bounds)


class Bits(Stage[Thermometer]):
    """Inputs (N, C, …) to bits (N, C · levels, …)."""

    def forward(self, x: Tensor) -> Tensor:
        return (self._height(x) > 0.5).to(x.dtype).flatten(1, 2)

    def surrogate(self, x: Tensor) -> Tensor:
        """Bits that fill one after the other."""
        return self._height(x).clamp(0, 1).flatten(1, 2)

    def _height(self, x: Tensor) -> Tensor:
        """(N, C, levels, …): how far each value is above the foot of each level, in levels."""
        feet = torch.arange(self.how.levels, dtype=x.dtype, device=x.device)
        return self.unit(x).unsqueeze(2) * self.how.levels - feet.reshape(-1, *[1] * (x.ndim - 2))

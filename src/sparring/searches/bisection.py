"""Bisection row by row: the smallest value that still succeeds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from sparring.rows import Rows


@dataclass(frozen=True)
class Bracket(Rows):
    """low failed, high succeeded (inf: nothing has yet), value is tried next."""

    low: Tensor
    high: Tensor
    value: Tensor

    @classmethod
    def of(cls, value: Tensor) -> Self:
        """Nothing known yet; try `value` (N,) first."""
        return cls(torch.zeros_like(value), torch.full_like(value, torch.inf), value)

    def after(self, success: Tensor, growth: float) -> Self:
        """Halve the bracket; while one of its ends is unknown, multiply or divide by `growth` instead."""
        low = torch.where(success, self.low, torch.maximum(self.low, self.value))
        high = torch.where(success, torch.minimum(self.high, self.value), self.high)
        value = torch.where(high.isinf(), self.value * growth, (low + high) / 2)
        value = torch.where(low == 0, self.value / growth, value)
        return replace(self, low=low, high=high, value=value)

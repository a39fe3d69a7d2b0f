"""L1: the sum of all changes is bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparring.draws import Draws
from sparring.rows import column
from sparring.threats.ball import Ball, Norm, tucked


@dataclass(frozen=True)
class L1Ball(Ball):
    """A cross-polytope cut with the input range (Croce & Hein, "Mind the box", 2021, section 2)."""

    def distance(self, x: Tensor) -> Tensor:
        return (x - self.centre).flatten(1).abs().sum(1, dtype=torch.float64).to(x.dtype)

    def project(self, x: Tensor) -> Tensor:
        """The nearest point of ball ∩ box: sign(v) min(max(|v| - t, 0), room), with the t that meets the radius.

        What is left of v falls linearly in t between breakpoints: a coordinate starts to count at t = |v| and
        stops growing at t = |v| - room. All breakpoints are sorted once and the segment is solved exactly.
        """
        delta = (x - self.centre).flatten(1)
        size = delta.abs().double()
        limit = self.room(x - self.centre).flatten(1).double()
        wanted = self.radius.double()[:, None]
        outside = torch.minimum(size, limit).sum(1, keepdim=True) > wanted
        if not bool(outside.any()):
            return self.clip(x)
        breaks = torch.cat([size, (size - limit).clamp_min(0)], dim=1)
        breaks, order = breaks.sort(dim=1, descending=True, stable=True)
        slope = torch.where(order < size.shape[1], 1.0, -1.0).to(size).cumsum(1)
        drop = torch.diff(breaks, dim=1).neg()
        left = torch.nn.functional.pad((slope[:, :-1] * drop).cumsum(1), (1, 0))
        segment = torch.searchsorted(left, wanted).clamp(1, breaks.shape[1] - 1)
        surplus = left.gather(1, segment) - wanted
        threshold = breaks.gather(1, segment) + surplus / slope.gather(1, segment - 1).clamp_min(1)
        threshold = torch.where(outside, threshold, 0)
        moved = torch.minimum((size - threshold).clamp_min(0), limit).to(x.dtype) * delta.sign()
        inner = self.clip(tucked(self, self.centre + moved.reshape(x.shape)))
        return torch.where(column(outside.squeeze(1), x), inner, self.clip(x))

    def steepest(self, gradient: Tensor, x: Tensor) -> Tensor:
        """All on the coordinate with the largest gradient that the range still lets move."""
        free = torch.where(gradient > 0, x < self.high, x > self.low)
        slopes = torch.where(free, gradient, 0).flatten(1)
        at = slopes.abs().argmax(1, keepdim=True)
        return torch.zeros_like(slopes).scatter(1, at, slopes.gather(1, at).sign()).reshape(gradient.shape)

    def sample(self, draws: Draws, index: Tensor, step: int) -> Tensor:
        shape, dtype = self.centre.shape[1:], self.centre.dtype
        weight = -torch.log1p(-draws.at("weight").uniform(index, step, shape, torch.float64))
        sign = torch.where(draws.at("sign").uniform(index, step, shape) < 0.5, -1.0, 1.0)
        length = draws.at("length").uniform(index, step, (1,), dtype).squeeze(1) ** (1 / math.prod(shape))
        share = weight / column(weight.flatten(1).sum(1).clamp_min(1e-300), weight)
        return self.project(self.centre + column(self.radius * length, sign) * (sign * share).to(dtype))


@dataclass(frozen=True)
class L1(Norm):
    """||x' - x||_1 <= eps."""

    ball: ClassVar[type[Ball]] = L1Ball
    name: ClassVar[str] = "l1"

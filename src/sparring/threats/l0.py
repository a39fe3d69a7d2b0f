"""L0: how many pixels differ, whatever the size of the change.

A pixel of an image (N, C, H, W) is all its channels; in inputs of any other rank every feature counts alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparring.draws import Draws
from sparring.errors import InputError
from sparring.rows import column
from sparring.threats.ball import Ball, Norm


def by_pixel(values: Tensor) -> Tensor:
    """(N, pixels): the sum over the channels of each pixel."""
    return (values.sum(1) if values.ndim == 4 else values).flatten(1)


def to_pixels(values: Tensor, like: Tensor) -> Tensor:
    """(N, pixels) spread back over the channels of `like`."""
    shape = (len(like), 1, *like.shape[2:]) if like.ndim == 4 else like.shape
    return values.reshape(shape).expand_as(like)


def ranked(values: Tensor) -> Tensor:
    """(N, M) -> (N, M): 0 for the largest of each row, the earlier one first among equals."""
    order = values.argsort(dim=1, descending=True, stable=True)
    return torch.empty_like(order).scatter(
        1, order, torch.arange(values.shape[1], device=values.device).expand_as(order)
    )


@dataclass(frozen=True)
class L0Ball(Ball):
    """At most `radius` pixels differ; untouched ones are bit-equal to the centre."""

    @property
    def reach(self) -> Tensor:
        # The norm says nothing about how far a pixel moves: a crossing step takes all but the faintest of them
        # to the edge of the range, where projection keeps those whose gradient × room is largest.
        width = (self.high - self.low).flatten(1).amax(1)
        return 10 * torch.where(width.isinf(), 1.0, width)

    def distance(self, x: Tensor) -> Tensor:
        return (by_pixel((x != self.centre).to(x.dtype)) > 0).sum(1).to(x.dtype)

    def project(self, x: Tensor) -> Tensor:
        """Keep the pixels that would cost most to give up: |v|² - |v - clip(v)|² summed over channels."""
        inside = self.clip(x)
        moved, wished = inside - self.centre, x - self.centre
        saved = by_pixel(moved * (2 * wished - moved))
        return torch.where(to_pixels(ranked(saved) < self.radius[:, None], x), inside, self.centre)

    def steepest(self, gradient: Tensor, x: Tensor) -> Tensor:
        """The gradient, scaled so that its largest entry is 1: no direction is shorter than another in L0."""
        largest = gradient.flatten(1).abs().amax(1)
        return gradient / column(largest.where(largest > 0, 1), gradient)

    def sample(self, draws: Draws, index: Tensor, step: int) -> Tensor:
        shape, dtype = self.centre.shape[1:], self.centre.dtype
        value = draws.at("value").uniform(index, step, shape, dtype)
        width = self.high - self.low
        low = torch.where(width.isinf(), self.centre - 0.5, self.low)
        value = low + value * torch.where(width.isinf(), 1.0, width)
        chance = by_pixel(draws.at("pixel").uniform(index, step, shape))
        free = by_pixel((width > 0).expand_as(value).float()) > 0
        order = ranked(chance.where(free, -1))
        return torch.where(to_pixels(order < self.radius[:, None], value), self.clip(value), self.centre)


@dataclass(frozen=True, init=False)
class L0(Norm):
    """At most `pixels` pixels (features, for flat inputs) differ."""

    ball: ClassVar[type[Ball]] = L0Ball
    name: ClassVar[str] = "l0"

    def __init__(self, pixels: float | Tensor | None = None, *, mask: Tensor | None = None) -> None:
        object.__setattr__(self, "eps", pixels)
        object.__setattr__(self, "mask", mask)
        self.__post_init__()
        if pixels is not None and not bool((torch.as_tensor(pixels).double() % 1 == 0).all()):
            raise InputError(f"L0 has radius {pixels}; give a whole number of pixels")

    def scaled(self, factor: float) -> L0:
        """The same with so many times as many pixels, rounded, and at least one."""
        if self.eps is None:
            return self
        return L0((torch.as_tensor(self.eps) * factor).round().clamp_min(1), mask=self.mask)

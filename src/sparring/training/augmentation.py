"""Augmentation as a function of (draws, example index, step): it depends neither on batch size nor on order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from sparring.draws import Draws
from sparring.errors import InputError
from sparring.values import check_fields


class Augmentation(Protocol):
    """A random change of images that keeps their class.

    Images x (N, C, H, W), of any floating dtype on any device, give a new tensor of the same shape, dtype and device.
    What is done to a row depends on draws, its entry of `index` (N,) and `step` alone. Raises InputError when x is
    not (N, C, H, W), or `index` not (N,).
    """

    def __call__(self, x: Tensor, draws: Draws, index: Tensor, step: int) -> Tensor: ...


@dataclass(frozen=True)
class Flip:
    """Left and right change places, with a probability."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.probability <= 1:
            raise InputError(f"probability={self.probability} is none: use a number from 0 to 1")

    def __call__(self, x: Tensor, draws: Draws, index: Tensor, step: int) -> Tensor:
        _require_images(x, index)
        flipped = draws.uniform(index, step, (1, 1, 1)).to(x.device) < self.probability
        return torch.where(flipped, x.flip(3), x)


@dataclass(frozen=True)
class PadCrop:
    """Pad by `padding` pixels of `fill` on each side, then crop a window of the old size anywhere."""

    padding: int = 4
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.padding < 0:
            raise InputError(f"padding={self.padding} cuts the image: use 0 or more pixels")

    def __call__(self, x: Tensor, draws: Draws, index: Tensor, step: int) -> Tensor:
        _require_images(x, index)
        count, channels, height, width = x.shape
        corner = _whole_numbers(draws, index, step, (2 * self.padding + 1, 2 * self.padding + 1)).to(x.device)
        rows = corner[:, 0, None] + torch.arange(height, device=x.device)
        columns = corner[:, 1, None] + torch.arange(width, device=x.device)
        padded = functional.pad(x, [self.padding] * 4, value=self.fill)
        example = torch.arange(count, device=x.device)[:, None, None, None]
        channel = torch.arange(channels, device=x.device)[None, :, None, None]
        return padded[example, channel, rows[:, None, :, None], columns[:, None, None, :]]


@dataclass(frozen=True)
class Cutout:
    """A square of `fill`, `size` pixels wide, around any pixel (DeVries & Taylor 2017).

    It may stick out of the image. In the paper 0 is the mean of the normalised images; here it is the input's own 0.
    """

    size: int = 8
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.size < 1:
            raise InputError(f"size={self.size} covers nothing: use a positive number of pixels")

    def __call__(self, x: Tensor, draws: Draws, index: Tensor, step: int) -> Tensor:
        _require_images(x, index)
        corner = _whole_numbers(draws, index, step, x.shape[2:]).to(x.device) - self.size // 2
        down = torch.arange(x.shape[2], device=x.device) - corner[:, 0, None]
        along = torch.arange(x.shape[3], device=x.device) - corner[:, 1, None]
        rows, columns = ((offset >= 0) & (offset < self.size) for offset in (down, along))
        return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], self.fill)


AUGMENTATIONS: dict[str, type[Flip] | type[PadCrop] | type[Cutout]] = {
    "flip": Flip,
    "pad-crop": PadCrop,
    "cutout": Cutout,
}


def augmented(x: Tensor, augmentations: Sequence[Augmentation], draws: Draws, index: Tensor, step: int) -> Tensor:
    """x (N, C, H, W) after all augmentations in turn, each with a stream of its own: its type's name and position.

    Without any augmentation, x itself.
    """
    for position, augmentation in enumerate(augmentations):
        x = augmentation(x, draws.at(type(augmentation).__name__, position), index, step)
    return x


def _whole_numbers(draws: Draws, index: Tensor, step: int, counts: Sequence[int]) -> Tensor:
    """(N, len(counts)) whole numbers, each from 0 to its count - 1."""
    # A draw is at most 1 - 2**-24, so that its product with a count never rounds up to the count.
    uniform = draws.uniform(index, step, (len(counts),))
    return (uniform * torch.tensor(counts, dtype=uniform.dtype, device=uniform.device)).long()


def _require_images(x: Tensor, index: Tensor) -> None:
    if x.ndim != 4:
        shape = tuple(x.shape)
        raise InputError(f"x has the shape {shape}: augmentation takes images (N, C, H, W); reshape x, or use none")
    if index.shape != x.shape[:1]:
        raise InputError(f"index has the shape {tuple(index.shape)}, but x {tuple(x.shape)}: give each row one index")

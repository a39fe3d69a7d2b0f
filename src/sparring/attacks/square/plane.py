"""Where the windows lie: any input seen as an image, and a place of its own for the window of each row."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plane:
    """Inputs (N, …) seen as (N, channels, height · width).

    The last two axes are the image, all before them channels; a flat input is an image one pixel high, in which
    a window is a run of features.
    """

    channels: int
    height: int
    width: int

    @classmethod
    def of(cls, x: Tensor) -> Plane:
        *channels, height, width = x.shape[1:] if x.ndim > 2 else (1, *x.shape[1:])
        return cls(math.prod(channels), height, width)

    def flat(self, x: Tensor) -> Tensor:
        """x (N, …) as (N, channels, height · width)."""
        return x.reshape(len(x), self.channels, self.height * self.width)

    def window(self, share: float, least: int = 1) -> tuple[int, int]:
        """Height and width of a window over that share of the image: a square, or as near to it as the image lets."""
        area = share * self.height * self.width
        side = max(round(math.sqrt(area)), least)
        if side > self.height:
            return self.height, min(max(round(area / self.height), least), self.width)
        if side > self.width:
            return min(max(round(area / self.width), least), self.height), self.width
        return side, side

    def cells(self, chance: Tensor, window: tuple[int, int]) -> Tensor:
        """(N, channels, cells) positions in a window of that size; `chance` (N, 2) in [0, 1) says where it lies."""
        height, width = window
        room = chance.new_tensor([self.height - height + 1, self.width - width + 1])
        top, left = (chance * room).long().unbind(1)
        down = torch.arange(height, device=chance.device)[:, None] * self.width
        inside = (down + torch.arange(width, device=chance.device)).flatten()
        at = (top * self.width + left)[:, None] + inside
        return at[:, None].expand(-1, self.channels, -1)


def hill(height: int, width: int) -> Tensor:
    """The paper's eta (section 3.4): nested centred squares, the k-th from the middle weighing 1 / k²."""
    down = (torch.arange(height) - height // 2).abs()[:, None]
    ring = torch.maximum(down, (torch.arange(width) - width // 2).abs())
    weight = 1 / torch.arange(1, int(ring.max()) + 2, dtype=torch.float64) ** 2
    return weight.flip(0).cumsum(0).flip(0)[ring]


def halves(height: int, width: int) -> Tensor:
    """Two hills of opposite sign, one above the other; a single one where there is one row only."""
    if height < 2:
        return hill(height, width)
    return torch.cat([hill(height // 2, width), -hill(height - height // 2, width)])


def tiles(plane: Plane, side: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Halves of that size side by side over the image, flat, and the number of the tile each cell lies in."""
    height, width = side
    rows, columns = plane.height // height, plane.width // width
    picture = torch.zeros(plane.height, plane.width, dtype=torch.float64)
    picture[: rows * height, : columns * width] = halves(height, width).repeat(rows, columns)
    down = (torch.arange(plane.height) // height).clamp_max(rows - 1)[:, None] * columns
    return picture.flatten(), (down + (torch.arange(plane.width) // width).clamp_max(columns - 1)).flatten()

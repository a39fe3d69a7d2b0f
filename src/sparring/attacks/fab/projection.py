"""The nearest point of a hyperplane inside a box, exactly, under L∞, L2 and L1 (FAB, section 3.1, equation 4).

Moving x by d meets the hyperplane where <slope, d> = gap. Only steps along the slope's signs help, each as far as the
box leaves room, so the least length is that of m >= 0 with sum |slope| m = gap and m <= room.
"""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-300


def step_to_plane(order: float, slope: Tensor, gap: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """(N, D) the shortest d with <slope, d> = gap, measured in L_order, and -down <= d <= up.

    Where the box does not reach the plane, d goes as far as the box lets it; where the slope is zero, d is too.

    Args:
        order: inf, 2 or 1.
        slope: (N, D). gap: (N,), of either sign. down, up: (N, D) room below and above, at least 0, inf included.
    """
    wide = slope.double() * gap.sign().double()[:, None]
    weight = wide.abs()
    # Only ratios matter; squares of weights near the smallest number must not vanish.
    largest = weight.amax(1, keepdim=True)
    weight = weight / largest.clamp_min(TINY)
    wanted = gap.double().abs()[:, None] / largest.clamp_min(TINY)
    room = torch.where(weight > 0, torch.where(wide > 0, up, down).double(), 0)
    moved = _filled(weight, wanted, room) if order == 1 else _levelled(order, weight, wanted, room)
    return (moved * wide.sign()).to(slope)


def _filled(weight: Tensor, wanted: Tensor, room: Tensor) -> Tensor:
    """L1: the heaviest coordinates go all the way, one part of it, the rest stay (a fractional knapsack)."""
    weight, order = weight.sort(dim=1, descending=True, stable=True)
    room = room.gather(1, order)
    gained = (weight * room).cumsum(1)
    before = torch.nn.functional.pad(gained[:, :-1], (1, 0))
    moved = torch.where(gained <= wanted, room, (wanted - before).clamp_min(0) / weight.clamp_min(TINY))
    return torch.zeros_like(moved).scatter(1, order, torch.minimum(moved, room))


def _levelled(order: float, weight: Tensor, wanted: Tensor, room: Tensor) -> Tensor:
    """L∞ and L2: m = min(t · pace, room), with a pace of 1 (L∞) or of the weight (L2), and the t that gains enough.

    The gain is concave and increasing in t, and linear but where a coordinate meets the box. Newton's method from
    t = 0 therefore never passes the root, and ends once it fills no further coordinate.
    """
    pace = (weight > 0).to(weight) if order == torch.inf else weight
    full = room <= 0
    while True:
        gained = torch.where(full, weight * room, 0).sum(1, keepdim=True)
        slope = torch.where(full, 0, weight * pace).sum(1, keepdim=True)
        moved = (wanted - gained).clamp_min(0) / slope.clamp_min(TINY) * pace
        filled = full | (moved > room)
        if torch.equal(filled, full):
            return torch.where(full, room, moved)
        full = filled

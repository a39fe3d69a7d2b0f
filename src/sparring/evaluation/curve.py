"""A curve: the robust accuracy at each radius of a grid. What is asked for, and what is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from math import inf
from typing import Any

import torch
from torch import Tensor

from sparring.errors import InputError
from sparring.evaluation.block import Block
from sparring.problem import Threat
from sparring.statistics import clopper_pearson
from sparring.threats import Norm


@dataclass(frozen=True)
class Point:
    """The robust accuracy at one radius, its 95 % Clopper-Pearson interval, and of how many examples."""

    eps: float
    robust_accuracy: float
    interval: tuple[float, float]
    examples: int

    def records(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "interval": list(self.interval)}


@dataclass(frozen=True)
class Traced(Block):
    """A block at the largest radius of a grid; x is the nearest adversarial example found.

    falls: (N,) the place in the grid of the smallest radius at which the example is known to fall: 0 where it is wrong
    from the start, the length of the grid where it withstands all of them. Passes are summed over the radii that the
    example was tried at, margins are those at the last one, and the evidence was gathered at the one it withstands.
    """

    falls: Tensor

    def falls_at(self, grid: Sequence[float]) -> Tensor:
        """(N,) the smallest radius of the grid at which the example falls, inf where none is known."""
        return torch.tensor([*grid, inf], dtype=torch.float64)[self.falls]

    def curve(self, grid: Sequence[float]) -> tuple[Point, ...]:
        """One point a radius of the grid, in order."""
        standing = [int((self.falls > place).sum()) for place in range(len(grid))]
        total = len(self.falls)
        return tuple(
            Point(eps, count / total, clopper_pearson(count, total), total)
            for eps, count in zip(grid, standing, strict=True)
        )


def radii(eps: str | Iterable[float]) -> tuple[float, ...]:
    """The radii of a curve: as given, or spread evenly where written as "first:last:count", "0:16/255:9".

    Raises:
        InputError: something else was written, or the radii do not increase from at least 0.
    """
    if isinstance(eps, str):
        return _spread(eps)
    try:
        found = tuple(float(radius) for radius in eps)
    except (TypeError, ValueError):
        found = ()
    # NaN is never less than another.
    if not (found and found[0] >= 0 and 0 < found[-1] < inf and all(one < other for one, other in pairwise(found))):
        raise InputError(
            f"eps is {eps!r}; give radii from 0 up, each larger than the one before, such as (0, 2/255, 4/255), or "
            "'0:16/255:9' for nine of them"
        )
    return found


def _spread(text: str) -> tuple[float, ...]:
    try:
        first, last, count = text.split(":")
        low, high, steps = _fraction(first), _fraction(last), int(count) - 1
        if not (0 <= low < high and steps >= 1):
            raise ValueError(text)
    except (ValueError, ZeroDivisionError):
        raise InputError(
            f"eps is {text!r}; write first:last:count with 0 <= first < last, each a number or a fraction, and a count "
            "of at least 2, such as 0:16/255:9"
        ) from None
    return tuple(float(low + (high - low) * step / steps) for step in range(steps + 1))


def _fraction(text: str) -> Fraction:
    over, _, under = text.partition("/")
    return Fraction(over) / Fraction(under or 1)


def reaching(threat: Threat, grid: Sequence[float]) -> Threat:
    """The threat with the largest radius of the grid, whatever it had.

    Raises:
        InputError: it is none of which the radius can be set, or not to one of these.
    """
    if not isinstance(threat, Norm):
        raise InputError(f"threat is {threat!r}; eps sets the radius of one such as sp.Linf() or sp.L2()")
    return [type(threat)(radius, mask=threat.mask) for radius in grid][-1]

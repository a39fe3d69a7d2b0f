"""What every norm shares: the checked radius, the box, and membership."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from sparring.errors import InputError
from sparring.problem import Region
from sparring.rows import column


@dataclass(frozen=True)
class Ball(Region):
    """The points within `radius` of `centre` and between `low` and `high` (both broadcast to the centre)."""

    centre: Tensor
    radius: Tensor
    low: Tensor
    high: Tensor

    @property
    def reach(self) -> Tensor:
        return self.radius

    def clip(self, x: Tensor) -> Tensor:
        """The nearest point of the input range."""
        return x.clamp(self.low, self.high)

    def contains(self, x: Tensor) -> Tensor:
        """Distance <= radius (1 + 1e-6) + 4 units in the last place, and inside the range."""
        ulp = torch.finfo(x.dtype).eps * self.centre.flatten(1).abs().amax(1)
        near = self.distance(x) <= self.radius * (1 + 1e-6) + 4 * ulp
        return near & ((x >= self.low) & (x <= self.high)).flatten(1).all(1)

    def resized(self, radius: Tensor) -> Self:
        return replace(self, radius=radius)

    def farthest(self) -> Tensor:
        return self.distance(torch.where(self.high - self.centre > self.centre - self.low, self.high, self.low))

    @property
    def masked(self) -> bool:
        return self.low.numel() > len(self.low)  # without a mask one edge serves all entries

    def room(self, toward: Tensor) -> Tensor:
        """How far each coordinate of the centre may move in the direction of `toward`'s sign."""
        return torch.where(toward > 0, self.high - self.centre, self.centre - self.low)


@dataclass(frozen=True)
class Norm:
    """A norm and a radius: one number, or one an example (N,); None asks for the nearest adversarial example.

    Args:
        eps: the radius, in the units of the input.
        mask: what may change: a bool tensor that broadcasts to the examples, True where it may.

    Raises:
        InputError: the radius is negative, infinite, NaN, or not one number (or one an example).
    """

    eps: float | Tensor | None = None
    mask: Tensor | None = field(default=None, kw_only=True, compare=False)
    ball: ClassVar[type[Ball]]
    name: ClassVar[str]

    def __post_init__(self) -> None:
        if self.eps is None:
            return
        if isinstance(self.eps, Real) and not isinstance(self.eps, bool | int | float):
            object.__setattr__(self, "eps", float(self.eps))  # a number of NumPy's
        numeric = isinstance(self.eps, int | float | Tensor) and not isinstance(self.eps, bool)
        values = torch.as_tensor(self.eps) if numeric else torch.tensor(torch.nan)
        odd = values.ndim > 1 or values.is_complex() or values.dtype == torch.bool
        if odd or not bool(((values >= 0) & values.isfinite()).all()):
            raise InputError(
                f"{type(self).__name__} has radius {self.eps!r}; give a finite number of at least 0, or one an example"
            )

    @property
    def radius(self) -> float | Tensor | None:
        return self.eps

    def scaled(self, factor: float) -> Self:
        """The same with a radius so many times as large."""
        return replace(self, eps=None if self.eps is None else self.eps * factor)

    def around(self, x: Tensor, bounds: tuple[float, float]) -> Ball:
        """The region of each example of x (N, …) for inputs in `bounds`."""
        radius = torch.as_tensor(torch.inf if self.eps is None else self.eps, dtype=x.dtype, device=x.device)
        if radius.ndim and len(radius) != len(x):
            raise InputError(
                f"{type(self).__name__} has {len(radius)} radii for {len(x)} examples; give one number, or one each"
            )
        edges = [x.new_full((len(x), *[1] * (x.ndim - 1)), edge) for edge in bounds]
        if self.mask is not None:
            free = self._mask(x)
            edges = [torch.where(free, edge, x) for edge in edges]
        return self.ball(x, radius.expand(len(x)).clone(), *edges)

    def _mask(self, x: Tensor) -> Tensor:
        mask: Any = self.mask
        try:
            return torch.as_tensor(mask, device=x.device).bool().expand_as(x)
        except (RuntimeError, TypeError, ValueError):
            what = f"has shape {tuple(mask.shape)}" if hasattr(mask, "shape") else f"is {mask!r}"
            raise InputError(
                f"mask {what}, which does not broadcast to x {tuple(x.shape)}; "
                "give one of the example's shape, or one an example"
            ) from None


def unit(gradient: Tensor) -> Tensor:
    """gradient / ||gradient||_2 row by row, zero where it is zero; safe for gradients far below 1e-20."""
    largest = gradient.flatten(1).abs().amax(1)
    scaled = gradient / column(largest.where(largest > 0, 1), gradient)
    length = torch.linalg.vector_norm(scaled.flatten(1), dim=1)
    return scaled / column(length.where(length > 0, 1), gradient)


def tucked(region: Ball, x: Tensor) -> Tensor:
    """x, pulled towards the centre where rounding left it outside the radius."""
    distance = region.distance(x)
    shrink = torch.where(distance > region.radius, region.radius / distance * (1 - 2e-7), 1.0)
    inner = region.centre + (x - region.centre) * column(shrink, x)
    return torch.where(column(distance > region.radius, x), inner, x)

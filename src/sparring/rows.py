"""Rows: frozen dataclasses whose tensors lead with the example.

Whatever belongs to an example lives in its row, so batch size, early retirement and resuming are
permutations of rows. Fields that are not tensors (or rows themselves) are shared by all rows and stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, Self

import torch
from torch import Tensor


def column(values: Tensor, like: Tensor) -> Tensor:
    """(N,) -> (N, 1, …, 1), to scale the rows of `like`."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


class Rows:
    """Base of frozen dataclasses whose tensor fields all have shape (N, …)."""

    def _each(self, change: Callable[..., Tensor], *others: Self) -> Self:
        changed: dict[str, Any] = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            rest = [getattr(other, field.name) for other in others]
            if isinstance(value, Rows):
                changed[field.name] = value._each(change, *rest)
            elif isinstance(value, Tensor):
                changed[field.name] = change(value, *rest)
        return replace(self, **changed)  # type: ignore[type-var]

    def take(self, keep: Tensor) -> Self:
        """The rows named by `keep`: a mask (N,) or positions (M,)."""
        at = keep.nonzero().squeeze(1) if keep.dtype == torch.bool else keep
        return self._each(lambda value: value.index_select(0, at))

    def put(self, at: Tensor, new: Self) -> Self:
        """A copy in which the rows at `at` (a mask or positions) are those of `new`."""
        where = at.nonzero().squeeze(1) if at.dtype == torch.bool else at
        return self._each(lambda value, other: value.index_copy(0, where, other), new)

    def where(self, mask: Tensor, other: Self) -> Self:
        """These rows where `mask` (N,) holds, those of `other` elsewhere."""
        return self._each(lambda value, rest: torch.where(column(mask, value), value, rest), other)

    def to(self, device: torch.device | str) -> Self:
        """The same rows on another device."""
        return self._each(lambda value: value.to(device))

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """All rows of all parts, in order."""
        return parts[0]._each(lambda *values: torch.cat(values), *parts[1:])

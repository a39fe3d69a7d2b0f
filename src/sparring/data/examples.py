"""Labelled inputs, what they promise, and their fingerprints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sparring.errors import InputError
from sparring.provenance import hash_tensors


@dataclass(frozen=True)
class Examples:
    """Labelled inputs: `x` float32 (N, ...), finite; `y` int64 (N,), not negative; both on the CPU."""

    x: Tensor
    y: Tensor
    name: str


def fingerprint(x: Tensor, y: Tensor) -> str:
    """The sha256, in hexadecimal, of the dtype, shape and bytes of `x` and of `y`."""
    return hash_tensors([("x", x), ("y", y)])


def checked(x: Tensor, y: Tensor, name: str, limit: int | None) -> Examples:
    """The promise of Examples, kept or refused."""
    xs, ys = f"x in {name} is {x.dtype} {tuple(x.shape)}", f"y in {name} is {y.dtype} {tuple(y.shape)}"
    classes = y.ndim == 1 and torch.can_cast(y.dtype, torch.int64)
    for broken, problem in (
        (not x.is_floating_point(), f"{xs}: divide by 255 if these are bytes, x.float() / 255"),
        (not classes, f"{ys}: labels are integers (N,); use y.long(), or y.argmax(1) if these are one-hot"),
        (x.ndim < 2, f"{xs}: pass a batch (N, ...), as in x.unsqueeze(0)"),
        (x.shape[:1] != y.shape[:1], f"{xs}, but {ys}: give each example one label"),
        (x.numel() == 0, f"{xs}, which is empty: give at least one example"),
    ):
        if broken:
            raise InputError(problem)
    x, y = x[:limit].float(), y[:limit].long()
    for tensor, values, bad in (("x", x, ~x.isfinite()), ("y", y, y < 0)):
        if bad.any():
            index = tuple(bad.nonzero()[0].tolist())
            raise InputError(f"{tensor} in {name} is {values[index].item()} at {index}: repair or drop it")
    return Examples(x, y, name)


def as_tensor(value: object, name: str) -> Tensor:
    """A tensor, array or number as a tensor on the CPU, of its own dtype."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    array = np.array(value if isinstance(value, np.ndarray | np.generic | int) else None, order="C")
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise InputError(f"{name} is {type(value).__name__} of {array.dtype}: use an array of numbers")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))

"""Turning anything into images and labels."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sparring.data.examples import Examples, as_tensor, checked
from sparring.data.files import from_path
from sparring.errors import InputError


def load(data: object, *, split: str = "test", limit: int | None = None) -> Examples:
    """Read `data` as labelled examples; `limit` keeps the first so many.

    `data` is one of:

    - Examples, as this function returns them;
    - a tuple `(x, y)` of tensors or numpy arrays, a DataLoader of such batches, or a map-style Dataset of
      such items: x floating point, neither rescaled nor reshaped; y integers of shape (N,);
    - "digits", the embedded 8×8 digits in [0, 1], (N, 1, 8, 8): 1,297 train and 500 test, fifty of each
      class; "digits:train" and "digits:test" override `split`;
    - a `.npz` or `.safetensors` with x and y, or images and labels, or x_test, y_test, x_train, y_train;
    - such a file with `bytes`, `end` and `y`: image files end to end as uint8, where each ends, and the labels;
      images as in a folder, below;
    - MNIST's idx files, gzipped or not: the images file, its labels beside it, or their folder, by `split`;
    - the folder of CIFAR-10's binary version, data_batch_1.bin to data_batch_5.bin and test_batch.bin, by `split`;
    - an image folder `root/<class>/<image>`, classes numbered in the order of their names, taking turns so
      that a `limit` keeps them all. Images have one size, and one channel if all are grey, otherwise RGB.

    Bytes from files become float32 in [0, 1]: (N, H, W) as (N, 1, H, W), and (N, H, W, C) as (N, C, H, W).
    `split` ("train" or "test") is ignored by data that has none.

    Raises InputError when the data is missing, damaged, empty, not finite, or not of these shapes and types.
    """
    if split not in ("train", "test"):
        raise InputError(f"split={split!r} is not a split: use 'train' or 'test'")
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit} keeps nothing: use a positive number, or None for everything")
    match data:
        case Examples():
            return checked(data.x, data.y, data.name, limit)
        case (x, y) if isinstance(data, tuple):
            return checked(as_tensor(x, "x"), as_tensor(y, "y"), "tensors", limit)
        case DataLoader():
            return checked(*_gather(data, "batch", limit), "DataLoader", limit)
        case Dataset() if hasattr(data, "__len__"):
            items = (data[i] for i in range(len(data))[:limit])
            return checked(*_gather(items, "item", None), type(data).__name__, limit)
        case "digits" | "digits:train" | "digits:test":
            name = data if ":" in data else f"{data}:{split}"
            return checked(*_digits(name.removeprefix("digits:")), name, limit)
        case str() | Path():
            return from_path(Path(data), split, limit)
    raise InputError(f"data is a {type(data).__name__}: pass (x, y), a DataLoader, a sized Dataset or a path")


def _gather(pairs: Iterable[object], kind: str, limit: int | None) -> tuple[Tensor, Tensor]:
    """Join (x, y) batches, or items, until there are `limit`."""
    xs, ys = list[Tensor](), list[Tensor]()
    for i, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InputError(f"data gives a {type(pair).__name__} as {kind} {i}: each must be a pair (x, y)")
        for value, letter, joined in zip(pair, "xy", (xs, ys), strict=True):
            tensor = as_tensor(value, f"{letter} of {kind} {i}")
            joined.append(tensor.unsqueeze(0) if kind == "item" else tensor)
        if limit is not None and sum(x.shape[:1].numel() for x in xs) >= limit:
            break
    try:
        return torch.cat(xs), torch.cat(ys)
    except (RuntimeError, ValueError) as error:
        shapes = sorted({tuple(x.shape[1:]) for x in xs})
        raise InputError(f"data gives examples of shapes {shapes}: give at least one, all alike") from error


def _digits(split: str) -> tuple[Tensor, Tensor]:
    """The frozen split: shuffle once, give each class's first fifty to the test set, classes taking turns."""
    with (resources.files("sparring") / "assets/digits.npz").open("rb") as file, np.load(file) as arrays:
        x, y = arrays["x"], arrays["y"]
    # RandomState, because numpy promises that its stream never changes; default_rng may change.
    order = np.random.RandomState(0).permutation(len(y))
    test = np.stack([order[y[order] == k][:50] for k in range(10)], axis=1).ravel()
    chosen = test if split == "test" else order[~np.isin(order, test)]
    return torch.from_numpy(x[chosen]).unsqueeze(1).float() / 16, torch.from_numpy(y[chosen])

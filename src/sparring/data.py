"""Turning anything into images and labels."""

from __future__ import annotations

import gzip
import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sparring.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".pgm", ".ppm")
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")  # no EPS, which would run Ghostscript
MAX_PIXELS = 2**26  # a small file can claim to be enormous

_SPLITS = {"train": ("train",), "test": ("t10k", "test")}
_IDX_IMAGES = re.compile(r"(.*)images([-.])idx[34]-ubyte(?:\.gz)?")


@dataclass(frozen=True)
class Examples:
    """Labelled inputs: `x` float32 (N, ...), finite; `y` int64 (N,), not negative; both on the CPU."""

    x: Tensor
    y: Tensor
    name: str


def load(data: object, *, split: str = "test", limit: int | None = None) -> Examples:
    """Read `data` as labelled examples; `limit` keeps the first so many.

    `data` is one of:

    - Examples, as this function returns them;
    - a tuple `(x, y)` of tensors or numpy arrays, a DataLoader of such batches, or a map-style Dataset of
      such items: x floating point, neither rescaled nor reshaped; y integers of shape (N,);
    - "digits", the embedded 8×8 digits in [0, 1], (N, 1, 8, 8): 1,297 train and 500 test, fifty of each
      class; "digits:train" and "digits:test" override `split`;
    - a `.npz` or `.safetensors` with x and y, or images and labels, or x_test, y_test, x_train, y_train;
    - MNIST's idx files, gzipped or not: the images file, its labels beside it, or their folder, by `split`;
    - an image folder `root/<class>/<image>`, classes numbered in the order of their names, taking turns so
      that a `limit` keeps them all. Images have one size, and one channel if all are grey, otherwise RGB.

    Bytes from files become float32 in [0, 1]: (N, H, W) as (N, 1, H, W), and (N, H, W, C) as (N, C, H, W).
    `split` ("train" or "test") is ignored by data that has none.

    Raises InputError when the data is missing, damaged, empty, not finite, or not of these shapes and types.
    """
    if split not in _SPLITS:
        raise InputError(f"split={split!r} is not a split: use 'train' or 'test'")
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit} keeps nothing: use a positive number, or None for everything")
    match data:
        case Examples():
            return _checked(data.x, data.y, data.name, limit)
        case (x, y) if isinstance(data, tuple):
            return _checked(_tensor(x, "x"), _tensor(y, "y"), "tensors", limit)
        case DataLoader():
            return _checked(*_gather(data, "batch", limit), "DataLoader", limit)
        case Dataset() if hasattr(data, "__len__"):
            items = (data[i] for i in range(len(data))[:limit])
            return _checked(*_gather(items, "item", None), type(data).__name__, limit)
        case "digits" | "digits:train" | "digits:test":
            name = data if ":" in data else f"{data}:{split}"
            return _checked(*_digits(name.removeprefix("digits:")), name, limit)
        case str() | Path():
            return _from_path(Path(data), split, limit)
    raise InputError(f"data is a {type(data).__name__}: pass (x, y), a DataLoader, a sized Dataset or a path")


def fingerprint(x: Tensor, y: Tensor) -> str:
    """The sha256, in hexadecimal, of the dtype, shape and bytes of `x` and of `y`."""
    return hash_tensors([("x", x), ("y", y)])


def hash_tensors(named: Iterable[tuple[str, Tensor]]) -> str:
    """The sha256, in hexadecimal, of the names, dtypes, shapes and bytes of tensors, in the order given."""
    digest = hashlib.sha256()
    for name, tensor in named:
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _checked(x: Tensor, y: Tensor, name: str, limit: int | None) -> Examples:
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


def _tensor(value: object, name: str) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    array = np.array(value if isinstance(value, np.ndarray | np.generic | int) else None, order="C")
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise InputError(f"{name} is {type(value).__name__} of {array.dtype}: use an array of numbers")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


def _gather(pairs: Iterable[object], kind: str, limit: int | None) -> tuple[Tensor, Tensor]:
    """Join (x, y) batches, or items, until there are `limit`."""
    xs, ys = list[Tensor](), list[Tensor]()
    for i, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InputError(f"data gives a {type(pair).__name__} as {kind} {i}: each must be a pair (x, y)")
        for value, letter, joined in zip(pair, "xy", (xs, ys), strict=True):
            tensor = _tensor(value, f"{letter} of {kind} {i}")
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


def _from_path(path: Path, split: str, limit: int | None) -> Examples:
    if not path.exists():
        raise InputError(f"data={str(path)!r} is neither 'digits' nor a path that exists: check the spelling")
    if path.is_dir():
        x, y = _read_idx_pair(idx) if (idx := _find_idx(path, split)) else _read_folder(path, limit)
    elif path.suffix == ".npz":
        with _reading(path, ".npz file of numbers"), np.load(path, allow_pickle=False) as file:
            x, y = _pick(file, path, split)
    elif path.suffix == ".safetensors":
        with _reading(path, ".safetensors file"):
            x, y = _pick(safetensors.torch.load_file(path), path, split)
    elif _IDX_IMAGES.fullmatch(path.name):
        x, y = _read_idx_pair(path)
    else:
        raise InputError(f"data={str(path)!r} is of no known kind: use .npz, .safetensors, idx or a folder")
    return _checked(_from_bytes(x) if x.dtype == torch.uint8 else x, y, str(path), limit)


@contextmanager
def _reading(path: Path, expected: str) -> Iterator[None]:
    """Damaged files make decoders raise nearly anything: say which file, and what it should have been."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} is no readable {expected} ({error!r}): fetch or write it again") from error


def _from_bytes(x: Tensor) -> Tensor:
    """Bytes as float32 in [0, 1], the channels moved, or made, before height and width."""
    x = x.unsqueeze(1) if x.ndim == 3 else x
    if x.ndim == 4 and x.shape[3] in (1, 3, 4) and min(x.shape[1:3]) > 4:
        x = x.permute(0, 3, 1, 2)
    return x.contiguous().float() / 255


def _pick(arrays: Mapping[str, object], path: Path, split: str) -> tuple[Tensor, Tensor]:
    pairs = (("x", "y"), ("images", "labels"), (f"x_{split}", f"y_{split}"))
    for x, y in pairs:
        if x in arrays and y in arrays:
            return _tensor(arrays[x], f"{x} in {path}"), _tensor(arrays[y], f"{y} in {path}")
    wanted = " or ".join(f"{x!r} and {y!r}" for x, y in pairs)
    raise InputError(f"{path} has the keys {sorted(arrays)}: it needs {wanted}; rename them or change split")


def _find_idx(folder: Path, split: str) -> Path | None:
    """The images file of a split among MNIST-named files, plain before gzipped; None if none is so named."""
    found = sorted(p for p in folder.iterdir() if _IDX_IMAGES.fullmatch(p.name))
    chosen = [p for p in found if any(word in p.name for word in _SPLITS[split])]
    if found and len({p.name.removesuffix(".gz") for p in chosen}) != 1:
        raise InputError(f"{folder} has {len(chosen)} idx images for split={split!r}: name one, or change it")
    return chosen[0] if chosen else None


def _read_idx_pair(images: Path) -> tuple[Tensor, Tensor]:
    stem = _IDX_IMAGES.sub(r"\1labels\2idx1-ubyte", images.name)
    labels = [p for p in (images.with_name(stem), images.with_name(f"{stem}.gz")) if p.exists()]
    if not labels:
        raise InputError(f"data={str(images)!r} has no labels: put {stem} or {stem}.gz beside it")
    return _read_idx(images, (3, 4)), _read_idx(labels[0], (1,))


def _read_idx(path: Path, ranks: tuple[int, ...]) -> Tensor:
    with _reading(path, "idx file of bytes"), path.open("rb") as raw:
        file = gzip.GzipFile(fileobj=raw) if raw.peek(2).startswith(b"\x1f\x8b") else raw
        magic = file.read(4)
        if len(magic) != 4 or magic[:3] != b"\0\0\x08" or magic[3] not in ranks:
            raise InputError(f"{path} starts with {magic!r}: idx files of bytes start 00 00 08, then {ranks}")
        shape = np.frombuffer(file.read(4 * magic[3]), ">u4").tolist()
        content = file.read(math.prod(shape) + 1)
        if len(shape) != magic[3] or len(content) != math.prod(shape):
            raise InputError(f"{path} is cut short, or too long, for its shape {shape}: fetch it again")
        return torch.from_numpy(np.ndarray(shape, np.uint8, bytearray(content)))


def _read_folder(root: Path, limit: int | None) -> tuple[Tensor, Tensor]:
    folders = sorted(p for p in root.glob("[!.]*") if p.is_dir())
    classes = [sorted(p for p in f.glob("[!.]*") if p.suffix.lower() in IMAGE_SUFFIXES) for f in folders]
    turns = [(turn, label, path) for label, paths in enumerate(classes) for turn, path in enumerate(paths)]
    if not turns:
        raise InputError(f"data={str(root)!r} has no images: lay them out as <folder>/<class>/<image>.png")
    _, labels, paths = zip(*sorted(turns)[:limit], strict=True)
    images = [_read_image(path) for path in paths]
    sizes = [image.shape[:2] for image in images]
    if odd := [f"{path} is {size}" for path, size in zip(paths, sizes, strict=True) if size != sizes[0]]:
        raise InputError(f"{odd[0]} high and wide, and {paths[0]} {sizes[0]}: resize all images to one size")
    return torch.from_numpy(np.stack(np.broadcast_arrays(*images))).permute(0, 3, 1, 2), torch.tensor(labels)


def _read_image(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """One image as bytes (H, W, 1 or 3)."""
    with _reading(path, "image"), Image.open(path, formats=IMAGE_FORMATS) as image:
        if image.width * image.height > MAX_PIXELS or image.mode[0] in "IF":
            raise InputError(f"{path} is {image.size} {image.mode}: use 8 bits, at most {MAX_PIXELS} pixels")
        pixels = np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)

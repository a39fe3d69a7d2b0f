"""Files and folders of labelled images: .npz, .safetensors, MNIST's idx, CIFAR-10's binary version, image folders."""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from sparring.data.examples import Examples, as_tensor, checked
from sparring.data.images import read_folder, reading, unpack
from sparring.errors import InputError

_IDX_SPLITS = {"train": ("train",), "test": ("t10k", "test")}
_IDX_IMAGES = re.compile(r"(.*)images([-.])idx[34]-ubyte(?:\.gz)?")
_CIFAR_SPLITS = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
_CIFAR_RECORD = 1 + 3 * 32 * 32


def from_path(path: Path, split: str, limit: int | None) -> Examples:
    """What a file or folder holds; see `load`."""
    if not path.exists():
        raise InputError(f"data={str(path)!r} is neither 'digits' nor a path that exists: check the spelling")
    if path.is_dir():
        x, y = _from_folder(path, split, limit)
    elif path.suffix == ".npz":
        with reading(str(path), ".npz file of numbers"), np.load(path, allow_pickle=False) as file:
            x, y = _from_arrays(file, path, split, limit)
    elif path.suffix == ".safetensors":
        with reading(str(path), ".safetensors file"):
            x, y = _from_arrays(safetensors.torch.load_file(path), path, split, limit)
    elif _IDX_IMAGES.fullmatch(path.name):
        x, y = _read_idx_pair(path)
    else:
        raise InputError(f"data={str(path)!r} is of no known kind: use .npz, .safetensors, idx or a folder")
    return checked(from_bytes(x) if x.dtype == torch.uint8 else x, y, str(path), limit)


def from_bytes(x: Tensor) -> Tensor:
    """Bytes as float32 in [0, 1], the channels moved, or made, before height and width."""
    x = x.unsqueeze(1) if x.ndim == 3 else x
    if x.ndim == 4 and x.shape[3] in (1, 3, 4) and min(x.shape[1:3]) > 4:
        x = x.permute(0, 3, 1, 2)
    return x.contiguous().float() / 255


def _from_arrays(arrays: Mapping[str, object], path: Path, split: str, limit: int | None) -> tuple[Tensor, Tensor]:
    pairs = (("x", "y"), ("images", "labels"), (f"x_{split}", f"y_{split}"))
    for x, y in pairs:
        if x in arrays and y in arrays:
            return as_tensor(arrays[x], f"{x} in {path}"), as_tensor(arrays[y], f"{y} in {path}")
    if all(key in arrays for key in ("bytes", "end", "y")):
        return unpack(arrays, str(path), limit)
    wanted = " or ".join(f"{x!r} and {y!r}" for x, y in pairs)
    problem = f"{path} has the keys {sorted(arrays)}: it needs {wanted}, or 'bytes', 'end' and 'y'"
    raise InputError(f"{problem}; rename them or change split")


def _from_folder(folder: Path, split: str, limit: int | None) -> tuple[Tensor, Tensor]:
    if images := _find_idx(folder, split):
        return _read_idx_pair(images)
    if any((folder / name).is_file() for names in _CIFAR_SPLITS.values() for name in names):
        return _read_cifar(folder, split, limit)
    return read_folder(folder, limit)


def _find_idx(folder: Path, split: str) -> Path | None:
    """The images file of a split among MNIST-named files, plain before gzipped; None if none is so named."""
    found = sorted(p for p in folder.iterdir() if _IDX_IMAGES.fullmatch(p.name))
    chosen = [p for p in found if any(word in p.name for word in _IDX_SPLITS[split])]
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
    with reading(str(path), "idx file of bytes"), path.open("rb") as raw:
        file = gzip.GzipFile(fileobj=raw) if raw.peek(2).startswith(b"\x1f\x8b") else raw
        magic = file.read(4)
        if len(magic) != 4 or magic[:3] != b"\0\0\x08" or magic[3] not in ranks:
            raise InputError(f"{path} starts with {magic!r}: idx files of bytes start 00 00 08, then {ranks}")
        shape = np.frombuffer(file.read(4 * magic[3]), ">u4").tolist()
        content = file.read(math.prod(shape) + 1)
        if len(shape) != magic[3] or len(content) != math.prod(shape):
            raise InputError(f"{path} is cut short, or too long, for its shape {shape}: fetch it again")
        return torch.from_numpy(np.ndarray(shape, np.uint8, bytearray(content)))


def _read_cifar(folder: Path, split: str, limit: int | None) -> tuple[Tensor, Tensor]:
    """CIFAR-10's binary version: records of a label and 3 x 32 x 32 bytes, the batches in their order."""
    paths = [folder / name for name in _CIFAR_SPLITS[split]]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise InputError(f"{folder} lacks {', '.join(missing)} for split={split!r}: put them there, or change it")
    batches = list[Tensor]()
    for path in paths:
        with reading(str(path), "batch of CIFAR-10"):
            size = path.stat().st_size
            if size == 0 or size % _CIFAR_RECORD:
                problem = f"{path} is {size} bytes long, which is no whole number of records of {_CIFAR_RECORD}"
                raise InputError(f"{problem}: fetch it again, as CIFAR-10's binary version")
            batch = torch.from_numpy(np.fromfile(path, np.uint8)).reshape(-1, _CIFAR_RECORD)
        if (largest := int(batch[:, 0].max())) > 9:
            raise InputError(f"{path} has the label {largest}, above 9: fetch it again, as CIFAR-10's binary version")
        batches.append(batch)
    records = torch.cat(batches)[:limit]
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]

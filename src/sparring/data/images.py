"""Encoded images: folders of them, and arrays that hold the files end to end."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sparring.data.examples import as_tensor
from sparring.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".pgm", ".ppm")
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")  # no EPS, which would run Ghostscript
MAX_PIXELS = 2**26  # a small file can claim to be enormous


@contextmanager
def reading(what: str, expected: str) -> Iterator[None]:
    """Damaged files make decoders raise nearly anything: say which file, and what it should have been."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{what} is no readable {expected} ({error!r}): fetch or write it again") from error


def read_folder(root: Path, limit: int | None) -> tuple[Tensor, Tensor]:
    """Bytes (N, 1 or 3, H, W) and labels of `root/<class>/<image>`, the classes taking turns."""
    folders = sorted(p for p in root.glob("[!.]*") if p.is_dir())
    classes = [sorted(p for p in f.glob("[!.]*") if p.suffix.lower() in IMAGE_SUFFIXES) for f in folders]
    turns = [(turn, label, path) for label, paths in enumerate(classes) for turn, path in enumerate(paths)]
    if not turns:
        raise InputError(f"data={str(root)!r} has no images: lay them out as <folder>/<class>/<image>.png")
    _, labels, paths = zip(*sorted(turns)[:limit], strict=True)
    return _decode((str(path), path) for path in paths), torch.tensor(labels)


def unpack(arrays: Mapping[str, object], name: str, limit: int | None) -> tuple[Tensor, Tensor]:
    """Bytes (N, 1 or 3, H, W) and labels (N,) of image files that lie end to end in one array.

    `bytes` uint8 (B,) holds the files, `end` integers (N,) where each one ends, `y` (N,) the labels. Only the first
    `limit` are decoded.
    """
    packed, ends, y = (as_tensor(arrays[key], f"{key} in {name}") for key in ("bytes", "end", "y"))
    if packed.ndim != 1 or packed.dtype != torch.uint8:
        raise InputError(f"bytes in {name} is {packed.dtype} {tuple(packed.shape)}: give the files as uint8 (B,)")
    if ends.ndim != 1 or ends.is_floating_point() or ends.shape != y.shape or len(ends) == 0:
        found = f"end in {name} is {ends.dtype} {tuple(ends.shape)}, and y {y.dtype} {tuple(y.shape)}"
        raise InputError(f"{found}: give each image one end and one label, as integers (N,)")
    places = list(pairwise([0, *ends.tolist()]))
    remedy = "ends increase, up to the number of bytes; fetch or write it again"
    for i, (start, end) in enumerate(places):
        if not start < end <= len(packed):
            raise InputError(f"end in {name} is {end} at {i}, after {start}, of {len(packed)} bytes: {remedy}")
    if places[-1][1] != len(packed):
        raise InputError(f"end in {name} stops at {places[-1][1]} of {len(packed)} bytes: {remedy}")
    files = (io.BytesIO(packed[start:end].numpy().tobytes()) for start, end in places[:limit])
    images = ((f"image {i} of {name}", file) for i, file in enumerate(files))
    return _decode(images), y[:limit]


def _decode(images: Iterable[tuple[str, Path | io.BytesIO]]) -> Tensor:
    """Named images of one size as bytes: (N, 1, H, W) if all are grey, otherwise (N, 3, H, W)."""
    names, decoded = zip(*((name, _read_image(name, file)) for name, file in images), strict=True)
    sizes = [image.shape[:2] for image in decoded]
    if odd := [f"{name} is {size}" for name, size in zip(names, sizes, strict=True) if size != sizes[0]]:
        raise InputError(f"{odd[0]} high and wide, and {names[0]} {sizes[0]}: resize all images to one size")
    return torch.from_numpy(np.stack(np.broadcast_arrays(*decoded))).permute(0, 3, 1, 2)


def _read_image(name: str, file: Path | io.BytesIO) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """One image as bytes (H, W, 1 or 3)."""
    with reading(name, "image"), Image.open(file, formats=IMAGE_FORMATS) as image:
        if image.width * image.height > MAX_PIXELS or image.mode[0] in "IF":
            raise InputError(f"{name} is {image.size} {image.mode}: use 8 bits, at most {MAX_PIXELS} pixels")
        pixels = np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)

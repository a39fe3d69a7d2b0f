"""Images and labels: every source gives exactly its values, and every flaw is named with its remedy."""

from __future__ import annotations

import gzip
import io
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from sparring.data import Examples, fingerprint, hash_tensors, images, load
from sparring.data.files import from_bytes
from sparring.errors import InputError

BYTES = np.random.default_rng(0).integers(0, 256, (6, 5, 7), dtype=np.uint8)
LABELS = np.array([2, 0, 1, 1, 0, 2], dtype=np.uint8)
X = torch.from_numpy(BYTES).unsqueeze(1).float() / 255
Y = torch.from_numpy(LABELS).long()


def assert_holds(found: Examples, x: Tensor, y: Tensor) -> None:
    assert found.x.dtype == torch.float32
    assert found.y.dtype == torch.int64
    assert torch.equal(found.x, x)
    assert torch.equal(found.y, y)


def idx(array: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder: Path, stem: str, x: bytes, y: bytes, suffix: str = "") -> Path:
    pack = gzip.compress if suffix else bytes
    images = folder / f"{stem}-images-idx3-ubyte{suffix}"
    images.write_bytes(pack(x))
    (folder / f"{stem}-labels-idx1-ubyte{suffix}").write_bytes(pack(y))
    return images


def save_image(path: Path, pixels: object, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, dtype=np.uint8))
    (image.convert(mode) if mode else image).save(path)


class Items(Dataset[Any]):
    """A map-style dataset of whatever it is given."""

    def __init__(self, items: list[Any]) -> None:
        self.items, self.asked = items, 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self.asked += 1
        return self.items[index]


class Stream(IterableDataset[Any]):
    """A dataset of unknown length."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())


# The embedded digits.


def test_digits_are_those_of_scikit_learn() -> None:
    source = pytest.importorskip("sklearn.datasets").load_digits()
    parts = [load("digits", split=split) for split in ("train", "test")]
    found = torch.cat([part.x.flatten(1) * 16 for part in parts]).long().tolist()
    labels = torch.cat([part.y for part in parts]).tolist()
    pairs = sorted(zip(found, labels, strict=True))
    # Each image of the source appears once, with its label: the split is disjoint and exhaustive.
    assert pairs == sorted(zip(source.data.astype(int).tolist(), source.target.tolist(), strict=True))
    assert len({tuple(image) for image in found}) == 1797


def test_digits_have_the_documented_split() -> None:
    train, test = load("digits", split="train"), load("digits")
    assert train.x.shape == (1297, 1, 8, 8)
    assert test.x.shape == (500, 1, 8, 8)
    assert (test.name, train.name) == ("digits:test", "digits:train")
    assert test.y.bincount().tolist() == [50] * 10
    assert test.x.min() == 0
    assert test.x.max() == 1


def test_the_digits_split_is_frozen() -> None:
    prints = [fingerprint(load(name).x, load(name).y)[:16] for name in ("digits:train", "digits:test")]
    assert prints == ["332e88d4a4c29182", "c3fe0bc3aa5547be"]


def test_a_digits_name_overrides_split_and_a_limit_keeps_all_classes() -> None:
    few = load("digits:test", split="train", limit=10)
    assert few.y.tolist() == list(range(10))
    assert torch.equal(few.x, load("digits").x[:10])


# What the caller already holds.


def test_a_tuple_keeps_its_values() -> None:
    x, y = torch.randn(4, 3, 2, dtype=torch.float64), torch.tensor([0, 5, 1, 2], dtype=torch.int32)
    assert_holds(load((x, y)), x.float(), y.long())
    assert_holds(load((x.numpy(), y.numpy()), limit=3), x[:3].float(), y[:3].long())
    assert load((x, y)).name == "tensors"


def test_numpy_arrays_may_be_reversed_or_of_foreign_byte_order() -> None:
    x, y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 2])
    assert_holds(load((x[::-1].astype(">f8"), y.astype(">i2"))), torch.tensor(x[::-1].copy()).float(), torch.tensor(y))


def test_a_gradient_is_left_behind() -> None:
    assert not load((X.clone().requires_grad_(), Y)).x.requires_grad


def test_a_loader_is_joined_and_read_no_further_than_the_limit() -> None:
    items = Items(list(zip(X, Y, strict=True)))
    assert_holds(load(DataLoader(items, batch_size=4)), X, Y)
    items.asked = 0
    assert_holds(load(DataLoader(items, batch_size=2), limit=3), X[:3], Y[:3])
    assert items.asked == 4


def test_a_dataset_is_joined_and_read_no_further_than_the_limit() -> None:
    assert_holds(load(TensorDataset(X, Y)), X, Y)
    items = Items([(x.numpy(), int(y)) for x, y in zip(X, Y, strict=True)])
    found = load(items, limit=2)
    assert_holds(found, X[:2], Y[:2])
    assert items.asked == 2
    assert found.name == "Items"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ((X.mul(255).byte(), Y), r"x in tensors is torch.uint8 .*divide by 255"),
        ((X.long(), Y), r"torch.int64.*divide by 255"),
        ((X, Y.float()), r"torch.float32.*y\.long\(\)"),
        ((X, torch.eye(6).long()), r"\(6, 6\).*argmax\(1\)"),
        ((X, Y[:5]), r"\(6, 1, 5, 7\).*\(5,\).*one label"),
        ((X[:0], Y[:0]), r"\(0, 1, 5, 7\).*empty.*at least one"),
        ((X[0, 0, 0], Y.new_zeros(7)), r"\(7,\).*unsqueeze"),
        ((X, Y - 1), r"y in tensors is -1 at \(1,\)"),
        ((X.tolist(), Y), r"x is list.*use an array"),
        ((X, np.array(["cat"] * 6)), r"y is ndarray of <U3.*use an array of numbers"),
        (Items([]), "shapes \\[\\]: give at least one"),
        (Items([(X[0], 0), (X[0, :, :2], 1)]), r"\(1, 2, 7\).*\(1, 5, 7\).*all alike"),
        (Items([X[0]]), "Tensor as item 0.*pair"),
        (Items([("cat.png", 0)]), "x of item 0 is str"),
        (DataLoader(TensorDataset(X), batch_size=2), "list as batch 0.*pair"),
        (Stream(), "data is a Stream"),
        ({"x": X}, "data is a dict: pass"),
        ("minst", "data='minst'.*check the spelling"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_remedy(source: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        load(source)


@pytest.mark.parametrize(("value", "told"), [(np.nan, "nan"), (np.inf, "inf"), (1e300, "inf")])
def test_the_first_value_that_is_not_finite_is_named(value: float, told: str) -> None:
    x = np.zeros((3, 2, 2))
    x[1, 0, 1] = x[2, 0, 0] = value
    with pytest.raises(InputError, match=rf"is {told} at \(1, 0, 1\): repair"):
        load((x, np.zeros(3, dtype=int)))


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_is_positive(limit: int) -> None:
    with pytest.raises(InputError, match=f"limit={limit} .*positive"):
        load("digits", limit=limit)


def test_a_split_is_train_or_test() -> None:
    with pytest.raises(InputError, match=r"split='val' .*'train' or 'test'"):
        load("digits", split="val")


# Files of arrays.


@pytest.mark.parametrize(("x", "y"), [("x", "y"), ("images", "labels"), ("x_test", "y_test")])
def test_npz_bytes_are_scaled_and_given_a_channel(tmp_path: Path, x: str, y: str) -> None:
    np.savez(tmp_path / "a.npz", **{x: BYTES, y: LABELS})
    found = load(tmp_path / "a.npz")
    assert_holds(found, X, Y)
    assert found.name == str(tmp_path / "a.npz")
    assert_holds(load(str(tmp_path / "a.npz"), limit=2), X[:2], Y[:2])


def test_npz_chooses_by_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=BYTES[:4], y_train=LABELS[:4], x_test=BYTES[4:], y_test=LABELS[4:])
    assert_holds(load(tmp_path / "a.npz", split="train"), X[:4], Y[:4])
    assert_holds(load(tmp_path / "a.npz"), X[4:], Y[4:])


def test_npz_floats_are_untouched(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(6, 8, 8, 3)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=LABELS)
    assert_holds(load(tmp_path / "a.npz"), torch.from_numpy(x), Y)


@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 3), st.integers(5, 9), st.integers(5, 9), st.sampled_from([1, 3, 4])),
    )
)
def test_bytes_with_channels_last_become_channels_first(x: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    found = from_bytes(torch.from_numpy(x))
    assert torch.equal(found, torch.from_numpy(x.transpose(0, 3, 1, 2).astype(np.float32) / 255))


def test_bytes_with_channels_first_stay(tmp_path: Path) -> None:
    x = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8)
    save_file({"x": x, "y": Y}, tmp_path / "a.safetensors")
    assert_holds(load(tmp_path / "a.safetensors"), x.float() / 255, Y)


def test_safetensors_floats_are_untouched(tmp_path: Path) -> None:
    save_file({"x": X * 3 - 1, "y": Y}, tmp_path / "a.safetensors")
    assert_holds(load(tmp_path / "a.safetensors"), X * 3 - 1, Y)


def test_missing_keys_are_told_with_those_found(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=BYTES, y_train=LABELS)
    with pytest.raises(InputError, match=r"a.npz has the keys \['x_train', 'y_train'\].*'x_test'.*change split"):
        load(tmp_path / "a.npz")


def test_an_npz_of_objects_runs_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([Bomb(tmp_path / "ran")], dtype=object), y=LABELS[:1])
    with pytest.raises(InputError, match=r"a.npz is no readable .npz file.*allow_pickle"):
        load(tmp_path / "a.npz")
    assert not (tmp_path / "ran").exists()


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "train-images-idx3-ubyte"])
@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\3\4" + bytes(9), b"\xff" * 64])
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    with pytest.raises(InputError, match=re.escape(str(tmp_path / name))):
        load(tmp_path / name)


def test_a_truncated_npz_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=BYTES, y=LABELS)
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a.npz is no readable .npz file"):
        load(tmp_path / "a.npz")


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(InputError, match=r"a.csv' is of no known kind: use"):
        load(tmp_path / "a.csv")


# MNIST's idx files.


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_round_trip(tmp_path: Path, suffix: str) -> None:
    images = write_idx(tmp_path, "train", idx(BYTES), idx(LABELS), suffix)
    assert_holds(load(images), X, Y)


def test_a_gzipped_images_file_may_have_plain_labels(tmp_path: Path) -> None:
    images = write_idx(tmp_path, "t10k", idx(BYTES), idx(LABELS), ".gz")
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS))
    assert_holds(load(images), X, Y)


def test_a_folder_of_idx_files_chooses_by_split(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", idx(BYTES[:4]), idx(LABELS[:4]))
    write_idx(tmp_path, "t10k", idx(BYTES[4:]), idx(LABELS[4:]))
    write_idx(tmp_path, "t10k", idx(BYTES[4:]), idx(LABELS[4:]), ".gz")
    assert_holds(load(tmp_path, split="train"), X[:4], Y[:4])
    assert_holds(load(tmp_path, split="test"), X[4:], Y[4:])


def test_a_folder_of_idx_files_without_the_split_is_refused(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", idx(BYTES), idx(LABELS))
    with pytest.raises(InputError, match=r"has 0 idx images for split='test'.*change it"):
        load(tmp_path)


def test_idx_images_need_their_labels(tmp_path: Path) -> None:
    images = write_idx(tmp_path, "train", idx(BYTES), idx(LABELS))
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match=r"no labels: put train-labels-idx1-ubyte or .*gz beside"):
        load(images)


@pytest.mark.parametrize(
    "content",
    [
        idx(BYTES)[:-1],
        idx(BYTES) + b"\0",
        idx(BYTES)[:9],
        b"\0\0\x08\3" + b"\xff" * 12,
        idx(LABELS),
        idx(BYTES[:0]),
    ],
    ids=["short", "long", "header", "enormous", "labels", "empty"],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_idx_files_are_named(tmp_path: Path, content: bytes, suffix: str) -> None:
    images = write_idx(tmp_path, "train", content, idx(LABELS), suffix)
    with pytest.raises(InputError, match="train-images-idx3-ubyte"):
        load(images)


def test_a_truncated_gzip_is_named(tmp_path: Path) -> None:
    images = write_idx(tmp_path, "train", idx(BYTES), idx(LABELS), ".gz")
    images.write_bytes(images.read_bytes()[:60])
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte.gz is no readable idx file.*EOFError"):
        load(images)


# CIFAR-10's binary version.


def write_cifar(folder: Path, name: str, count: int) -> tuple[Tensor, Tensor]:
    """A batch of `count` random records; what load should make of it."""
    draw = np.random.default_rng(count)
    x, y = draw.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), draw.integers(0, 10, count, dtype=np.uint8)
    (folder / name).write_bytes(b"".join(bytes([label]) + image.tobytes() for image, label in zip(x, y, strict=True)))
    return torch.from_numpy(x).float() / 255, torch.from_numpy(y).long()


def test_cifar_batches_are_joined_by_split(tmp_path: Path) -> None:
    (tmp_path / "batches.meta.txt").write_text("airplane")
    test = write_cifar(tmp_path, "test_batch.bin", 7)
    batches = [write_cifar(tmp_path, f"data_batch_{i}.bin", i) for i in (5, 3, 1, 2, 4)]
    x, y = (torch.cat(parts) for parts in zip(*sorted(batches, key=lambda pair: len(pair[1])), strict=True))
    assert_holds(load(tmp_path), *test)
    assert_holds(load(tmp_path, split="train"), x, y)
    assert_holds(load(tmp_path, split="train", limit=4), x[:4], y[:4])


def test_absent_cifar_batches_are_named(tmp_path: Path) -> None:
    write_cifar(tmp_path, "data_batch_1.bin", 1)
    write_cifar(tmp_path, "data_batch_3.bin", 1)
    with pytest.raises(InputError, match=r"lacks data_batch_2.bin, data_batch_4.bin, .*'train'.*or change it"):
        load(tmp_path, split="train", limit=1)
    with pytest.raises(InputError, match=r"lacks test_batch.bin for split='test'"):
        load(tmp_path)


@pytest.mark.parametrize("change", [-3073, -1, 1])
def test_a_cifar_batch_of_a_damaged_size_is_named(tmp_path: Path, change: int) -> None:
    write_cifar(tmp_path, "test_batch.bin", 1)
    content = (tmp_path / "test_batch.bin").read_bytes()
    (tmp_path / "test_batch.bin").write_bytes((content + b"\0")[: 3073 + change])
    with pytest.raises(InputError, match=rf"test_batch.bin is {3073 + change} bytes long.*3073: fetch it again"):
        load(tmp_path)


def test_a_cifar_batch_of_impossible_labels_is_named(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(b"\xff" * 3073)
    with pytest.raises(InputError, match=r"test_batch.bin has the label 255, above 9"):
        load(tmp_path)


# Image files end to end in one array.

COLOUR = np.random.default_rng(2).integers(0, 256, (3, 8, 9, 3), dtype=np.uint8)


def encoded(pixels: np.ndarray[Any, np.dtype[np.uint8]], kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_packed(path: Path, files: list[bytes], **replaced: object) -> Path:
    arrays = {"bytes": np.frombuffer(b"".join(files), np.uint8), "end": np.cumsum([len(file) for file in files])}
    np.savez(path, **{**arrays, "y": LABELS[: len(files)], **replaced})
    return path


@pytest.mark.parametrize("limit", [None, 1, 2])
def test_packed_images_give_their_exact_values(tmp_path: Path, limit: int | None) -> None:
    path = write_packed(tmp_path / "a.npz", [encoded(image) for image in COLOUR])
    expected = torch.from_numpy(COLOUR).permute(0, 3, 1, 2).float() / 255
    assert_holds(load(path, limit=limit), expected[:limit], Y[:3][:limit])


def test_packed_images_may_be_safetensors_and_of_mixed_formats(tmp_path: Path) -> None:
    files = [encoded(BYTES[0]), encoded(BYTES[1], "BMP"), encoded(BYTES[2], "TIFF")]
    ends = torch.tensor([len(file) for file in files], dtype=torch.int32).cumsum(0)
    content = torch.frombuffer(bytearray(b"".join(files)), dtype=torch.uint8)
    save_file({"bytes": content, "end": ends, "y": Y[:3]}, tmp_path / "a.safetensors")
    assert_holds(load(tmp_path / "a.safetensors"), X[:3], Y[:3])


def test_packed_jpegs_are_as_an_image_folder_reads_them(tmp_path: Path) -> None:
    files = [encoded(image, "JPEG") for image in (*COLOUR, COLOUR[0, :, :, 0])]
    for i, file in enumerate(files):
        (tmp_path / "all/a").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"all/a/{i}.jpg").write_bytes(file)
    found = load(write_packed(tmp_path / "a.npz", files))
    assert_holds(found, load(tmp_path / "all").x, Y[:4])
    assert found.x.shape == (4, 3, 8, 9)


def test_only_as_many_packed_images_are_decoded_as_asked_for(tmp_path: Path) -> None:
    path = write_packed(tmp_path / "a.npz", [encoded(BYTES[0]), b"no image"])
    assert_holds(load(path, limit=1), X[:1], Y[:1])
    with pytest.raises(InputError, match=r"image 1 of .*a.npz is no readable image"):
        load(path)


@pytest.mark.parametrize("lost", [3, 60, 500, 10**6])
def test_a_truncated_packed_jpeg_is_named(tmp_path: Path, lost: int) -> None:
    files = [encoded(image, "JPEG") for image in COLOUR]
    files[1] = files[1][: max(1, len(files[1]) - lost)]
    with pytest.raises(InputError, match=r"image 1 of .*a.npz is no readable image .*: fetch or write it again"):
        load(write_packed(tmp_path / "a.npz", files))


def test_packed_images_have_one_size(tmp_path: Path) -> None:
    path = write_packed(tmp_path / "a.npz", [encoded(BYTES[0]), encoded(BYTES[0, :4])])
    with pytest.raises(InputError, match=r"image 1 of .*a.npz is \(4, 7\) high and wide, and image 0 .*resize"):
        load(path)


def test_a_packed_image_of_too_many_pixels_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_packed(tmp_path / "a.npz", [encoded(BYTES[0])])
    monkeypatch.setattr(images, "MAX_PIXELS", 34)
    with pytest.raises(InputError, match=r"image 0 of .*a.npz is \(7, 5\) L: use .* at most 34 pixels"):
        load(path)


def test_a_packed_postscript_is_not_interpreted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"image 0 of .*a.npz is no readable image"):
        load(write_packed(tmp_path / "a.npz", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 7\n%%EndComments\n"]))


SIZE = len(encoded(BYTES[0]))
TWICE = np.frombuffer(encoded(BYTES[0]) * 2, np.uint8)


@pytest.mark.parametrize(
    ("replaced", "told"),
    [
        ({"end": np.array([SIZE, SIZE])}, rf"end in .*a.npz is {SIZE} at 1, after {SIZE}, of {2 * SIZE}.*increase"),
        ({"end": np.array([2 * SIZE, SIZE])}, rf"is {SIZE} at 1, after {2 * SIZE}"),
        ({"end": np.array([0, 2 * SIZE])}, r"is 0 at 0, after 0"),
        ({"end": np.array([-1, 2 * SIZE])}, r"is -1 at 0, after 0"),
        ({"end": np.array([SIZE, 2 * SIZE + 1])}, rf"is {2 * SIZE + 1} at 1, after {SIZE}, of {2 * SIZE} bytes"),
        ({"end": np.array([SIZE, 2**64 - 1], dtype=np.uint64)}, rf"is {2**64 - 1} at 1"),
        ({"end": np.array([SIZE, 2 * SIZE - 1])}, rf"end in .*a.npz stops at {2 * SIZE - 1} of {2 * SIZE} bytes"),
        ({"end": np.array([SIZE, 2 * SIZE]) / 1}, r"end in .*a.npz is torch.float64 .*as integers"),
        ({"end": np.array([[SIZE, 2 * SIZE]])}, r"end in .*a.npz is torch.int64 \(1, 2\).*as integers"),
        ({"end": np.array([], dtype=int), "y": LABELS[:0]}, r"is torch.int64 \(0,\).*each image"),
        ({"y": LABELS[:3]}, r"torch.int64 \(2,\), and y torch.uint8 \(3,\): give each image one end and one label"),
        ({"y": LABELS[:2] / 2}, r"y in .*a.npz is torch.float64.*labels are integers"),
        ({"bytes": TWICE.astype(int)}, r"bytes in .*a.npz is torch.int64.*as uint8"),
        ({"bytes": TWICE.reshape(2, -1)}, rf"bytes in .*a.npz is torch.uint8 \(2, {SIZE}\).*as uint8"),
    ],
)
def test_damaged_packing_is_named(tmp_path: Path, replaced: dict[str, Any], told: str) -> None:
    path = write_packed(tmp_path / "a.npz", [encoded(BYTES[0])] * 2, **replaced)
    with pytest.raises(InputError, match=told):
        load(path, limit=1)


# Image folders.


def test_an_image_folder_gives_its_exact_values_in_turns(tmp_path: Path) -> None:
    for k, name in enumerate(["b/1.png", "b/2.BMP", "a/z.png", "a/.hidden.png", ".cache/1.png", "c/notes.txt"]):
        if name.endswith("txt"):
            (tmp_path / "c").mkdir()
            (tmp_path / name).write_text("not an image")
        else:
            save_image(tmp_path / name, BYTES[k])
    found = load(tmp_path)
    assert_holds(found, X[[2, 0, 1]], torch.tensor([0, 1, 1]))
    assert found.name == str(tmp_path)
    assert_holds(load(tmp_path, limit=2), X[[2, 0]], torch.tensor([0, 1]))


def test_grey_images_among_colour_become_colour(tmp_path: Path) -> None:
    colour = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    save_image(tmp_path / "a/1.png", BYTES[0])
    save_image(tmp_path / "b/1.png", colour)
    save_image(tmp_path / "b/2.png", colour, "RGBA")
    expected = torch.stack([X[0].expand(3, 5, 7), *[torch.from_numpy(colour).permute(2, 0, 1) / 255] * 2])
    assert_holds(load(tmp_path), expected, torch.tensor([0, 1, 1]))


def test_every_lossless_format_is_read(tmp_path: Path) -> None:
    colour = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    for suffix in ("png", "bmp", "tiff", "ppm"):
        save_image(tmp_path / f"a/1.{suffix}", colour)
    assert (load(tmp_path).x == torch.from_numpy(colour).permute(2, 0, 1) / 255).all()
    assert len(load(tmp_path).x) == 4


def test_the_image_of_another_size_is_named(tmp_path: Path) -> None:
    for name in ("1.png", "3.png"):
        save_image(tmp_path / "a" / name, BYTES[0])
    save_image(tmp_path / "a/2.png", BYTES[0, :4])
    with pytest.raises(InputError, match=r"2.png is \(4, 7\) high and wide, and .*1.png \(5, 7\): resize"):
        load(tmp_path)


def test_an_image_of_too_many_pixels_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_image(tmp_path / "a/1.png", BYTES[0])
    monkeypatch.setattr(images, "MAX_PIXELS", 34)
    with pytest.raises(InputError, match=r"1.png is \(7, 5\) L: use .* at most 34 pixels"):
        load(tmp_path)


def test_an_image_of_16_bits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(BYTES[0].astype(np.uint16) * 257).save(tmp_path / "a/1.png")
    with pytest.raises(InputError, match=r"1.png is .*I;16: use 8 bits"):
        load(tmp_path)


@pytest.mark.parametrize("keep", [0, 8, 60])
def test_a_damaged_image_is_named(tmp_path: Path, keep: int) -> None:
    save_image(tmp_path / "a/1.png", BYTES[0])
    (tmp_path / "a/1.png").write_bytes((tmp_path / "a/1.png").read_bytes()[:keep])
    with pytest.raises(InputError, match=r"1.png is no readable image"):
        load(tmp_path)


def test_a_disguised_postscript_is_not_interpreted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 7\n%%EndComments\n")
    with pytest.raises(InputError, match=r"1.png is no readable image"):
        load(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    save_image(tmp_path / "1.png", BYTES[0])
    with pytest.raises(InputError, match="has no images: lay them out as <folder>/<class>/"):
        load(tmp_path)


# Fingerprints.


def test_a_fingerprint_sees_values_shapes_and_types_but_not_layout() -> None:
    x, y = torch.arange(12.0).reshape(3, 4), torch.tensor([0, 1, 2])
    changed = x.clone()
    changed[2, 3] += 1e-6 * 11
    others = [(changed, y), (x.reshape(4, 3), y), (x.double(), y), (x, y.int()), (x, y.flip(0))]
    prints = {fingerprint(*pair) for pair in [(x, y), *others]}
    assert len(prints) == 6
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in prints)
    assert fingerprint(x.T.contiguous().T, y) == fingerprint(x, y)


def test_tensors_of_every_kind_are_hashed() -> None:
    odd = [torch.zeros(0), torch.tensor(1), torch.tensor(True), torch.ones(2, dtype=torch.bfloat16)]
    assert len({hash_tensors([("a", tensor)]) for tensor in odd} | {hash_tensors([("b", odd[0])])}) == 5

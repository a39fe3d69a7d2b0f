"""Sealed files: text, tensors and zip files that are damaged, of another format or another thing are refused."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from runs import assert_equal
from sparring.sealed import (
    FORMAT,
    Broken,
    seal,
    seal_archive,
    seal_tensors,
    unseal,
    unseal_archive,
    unseal_tensors,
)

RECORDS = {"kind": "evaluation", "seed": 3, "radius": 0.1, "names": ["FGSM", "PGD-10"], "mean": None, "on": True}
TENSORS = {"x": torch.rand(2, 3), "index": torch.tensor([4, 5]), "robust": torch.tensor([True, False])}
ABOUT = {"run": "0123abcd", "block": "1"}


def flipped(content: bytes, bit: int) -> bytes:
    """The same but for one bit."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def archive() -> bytes:
    """A small checkpoint."""
    file = io.BytesIO()
    torch.save({"weights": torch.arange(3.0), "epoch": 2}, file)
    return file.getvalue()


def refused(read: Callable[[bytes], Any], content: bytes, bits: range) -> list[int]:
    """The bits that, flipped, are refused; every other must have changed nothing that is read."""
    whole, found = read(content), []
    for bit in bits:
        try:
            assert_equal(read(flipped(content, bit)), whole)
        except Broken:
            found.append(bit)
    return found


def read_tensors(content: bytes) -> dict[str, Tensor]:
    return unseal_tensors(content, ABOUT)


def read_archive(content: bytes) -> Any:
    unseal_archive(content)
    return torch.load(io.BytesIO(content), weights_only=True)


def test_what_was_sealed_is_read_back() -> None:
    assert unseal(seal(RECORDS)) == {**RECORDS, "format": FORMAT}
    told = json.loads(seal(RECORDS))  # other tools read it as the JSON it is
    assert {name: told[name] for name in RECORDS} == RECORDS
    assert_equal(read_tensors(seal_tensors(TENSORS, ABOUT)), TENSORS)
    assert_equal(read_archive(seal_archive(archive())), {"weights": torch.arange(3.0), "epoch": 2})


def test_numbers_that_json_has_no_word_for_are_read_back() -> None:
    told = unseal(seal({"missed": [math.inf, -math.inf, math.nan, 1e-300, -0.0]}))["missed"]
    assert told[:2] == [math.inf, -math.inf]
    assert math.isnan(told[2])
    assert (told[3], math.copysign(1, told[4])) == (1e-300, -1)


def test_every_flipped_bit_of_a_text_is_refused_or_changes_nothing() -> None:
    content = seal(RECORDS)
    assert len(refused(unseal, content, range(8 * len(content)))) > 0.95 * 8 * len(content)


def test_every_flipped_bit_of_tensors_is_refused_or_changes_nothing() -> None:
    content = seal_tensors(TENSORS, ABOUT)
    assert len(refused(read_tensors, content, range(8 * len(content)))) > 0.95 * 8 * len(content)


def test_every_flipped_bit_of_an_archive_is_refused() -> None:
    content = seal_archive(archive())
    bits = range(0, 8 * len(content), 5)
    assert refused(read_archive, content, bits) == list(bits)
    last = range(8 * (len(content) - 110), 8 * len(content))  # the seal itself
    assert refused(read_archive, content, last) == list(last)


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (unseal, seal(RECORDS)),
        (read_tensors, seal_tensors(TENSORS, ABOUT)),
        (read_archive, seal_archive(archive())),
    ],
    ids=["text", "tensors", "archive"],
)
def test_a_file_cut_short_or_with_more_at_its_end_is_refused(read: Callable[[bytes], Any], content: bytes) -> None:
    for length in range(0, len(content), 7):
        with pytest.raises(Broken):
            read(content[:length])
    for more in (b"\0", b"x", b"{}", content):
        with pytest.raises(Broken):
            read(content + more)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"3", b'"text"', b"null", b"\xff\xfe", b"{", b"[" * 100_000, b'{"format": 2}', b'{"sha256": "0"}'],
)
def test_what_never_was_sealed_is_refused(content: bytes) -> None:
    for read in (unseal, read_tensors, unseal_archive):
        with pytest.raises(Broken):
            read(content)


def test_an_older_format_is_named() -> None:
    older = r"it was written by an older version of sparring \(format {}, this one reads 2\)"
    for found, text in ((1, b'{"format": 1, "seed": 3}'), (None, b'{"seed": 3}')):
        with pytest.raises(Broken, match=older.format(found)):
            unseal(text)
    with pytest.raises(Broken, match=r"by another version of sparring \(format 10, this one reads 2\)"):
        unseal(b'{"format": 10}')
    for metadata in (None, {"sparring": "{}"}, {"format": "pt"}):
        with pytest.raises(Broken, match=older.format(None)):
            read_tensors(save(TENSORS, metadata))
    with pytest.raises(Broken, match=older.format(None)):
        unseal_archive(archive())
    with pytest.raises(Broken, match="it is no zip file"):
        unseal_archive(b"nonsense")


def test_tensors_about_something_else_are_refused() -> None:
    content = seal_tensors(TENSORS, ABOUT)
    with pytest.raises(Broken, match="its block is '1', not '2'"):
        unseal_tensors(content, {**ABOUT, "block": "2"})
    with pytest.raises(Broken, match="its run is '0123abcd', not 'ffff'"):
        unseal_tensors(content, {**ABOUT, "run": "ffff"})
    with pytest.raises(Broken, match="its part is None, not '1'"):
        unseal_tensors(content, {**ABOUT, "part": "1"})


def test_a_seal_is_over_names_types_and_shapes_too() -> None:
    """Tensors of the same bytes under other names, as another type or in another shape do not have the same seal."""
    plain = {"x": torch.zeros(4), "y": torch.zeros(4)}
    others: list[dict[str, Tensor]] = [
        {"y": torch.zeros(4), "z": torch.zeros(4)},
        {"x": torch.zeros(4, dtype=torch.int32), "y": torch.zeros(4)},
        {"x": torch.zeros(2, 2), "y": torch.zeros(4)},
        {"x": torch.zeros(4)},
    ]
    seals = [_sha256(seal_tensors(tensors, ABOUT)) for tensors in (plain, *others)]
    assert len(set(seals)) == len(seals)
    assert _sha256(seal_tensors(dict(reversed(plain.items())), ABOUT)) == seals[0]  # their order says nothing


def _sha256(content: bytes) -> str:
    length = int.from_bytes(content[:8], "little")
    return str(json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["sparring"])["sha256"])


def test_the_same_is_sealed_to_the_same_bytes() -> None:
    """So files of two processes that found the same can be compared."""
    assert seal_tensors(TENSORS, ABOUT) == seal_tensors(TENSORS, dict(reversed(ABOUT.items())))
    assert seal(RECORDS) == seal(dict(RECORDS))

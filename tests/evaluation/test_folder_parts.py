"""The parts of an evaluation's folder: what is damaged, or of another run, is computed again or refused, never used."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import sparring as sp
from evaluation.cases import BLOCK, Mortal, X, assert_same, labels, run
from runs import assert_equal
from sparring.auditing import Audit
from sparring.evaluation import Result
from sparring.evaluation.block import Block
from sparring.evaluation.run import Run

FORMAT = 2


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; copied, never changed."""
    folder = tmp_path_factory.mktemp("clean")
    run(folder)
    return folder


@pytest.fixture
def folder(clean: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(clean, tmp_path / "run"))


def block(folder: Path, number: int) -> Path:
    return folder / "blocks" / f"{number:06d}.safetensors"


def assert_computed_again(folder: Path, clean: Path, message: str) -> None:
    """The run says what is wrong with its block 1, and ends as if that had never been there."""
    with pytest.warns(UserWarning, match=f"000001.safetensors is not used: .*{message}"):
        again = run(folder)
    assert_equal(again.x, run(clean).x)
    assert_same(folder, clean)


def test_blocks_without_a_header_are_refused_and_left_as_they_are(folder: Path, tmp_path: Path) -> None:
    (folder / "run.json").unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    others: list[dict[str, Any]] = [{}, {"net": Mortal(seed=1)}, {"threat": sp.L2(0.5)}, {"seed": 5}]
    for changes in others:
        with pytest.raises(sp.ResumeError, match=r"has blocks, ledger.jsonl, .* and no run.json that says whose they"):
            run(folder, **changes)
    (tmp_path / "other" / "blocks").mkdir(parents=True)
    shutil.copy(block(folder, 1), block(tmp_path / "other", 1))
    with pytest.raises(sp.ResumeError, match=r"has blocks and no run.json"):
        run(tmp_path / "other")
    assert {path: path.read_bytes() for path in before} == before
    assert not (folder / "run.json").exists()


def test_a_block_copied_over_another_is_computed_again(folder: Path, clean: Path) -> None:
    shutil.copy(block(folder, 2), block(folder, 1))
    assert_computed_again(folder, clean, "its block is '2', not '1'")


OTHERS: dict[str, dict[str, Any]] = {
    "model": {"net": Mortal(seed=1)},
    "seed": {"seed": 1},
    "radius": {"threat": sp.Linf(0.2)},
    "norm": {"threat": sp.L2(0.2)},
    "plan": {"plan": (sp.FGSM(), sp.PGD(steps=4))},
    "labels": {"data": (X, (labels() + 1) % 3)},
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_block_of_another_run_is_computed_again(what: str, folder: Path, clean: Path, tmp_path: Path) -> None:
    run(tmp_path / "other", limit=8, **{**OTHERS[what], **_fewer(OTHERS[what])})
    shutil.copy(block(tmp_path / "other", 1), block(folder, 1))
    assert_computed_again(folder, clean, "its run is '")


def _fewer(changes: dict[str, Any]) -> dict[str, Any]:
    """Two blocks are enough."""
    x, y = changes.get("data", (X, labels()))
    return {"data": (x[:8], y[:8])}


def test_a_block_with_other_rows_is_computed_again(folder: Path, clean: Path, tmp_path: Path) -> None:
    run(tmp_path / "five", batch_size=5, limit=10)
    shutil.copy(block(tmp_path / "five", 1), block(folder, 1))
    assert_computed_again(folder, clean, "its run is '")


def _five(one: Block) -> Block:
    return Block.join([one, one.take(torch.tensor([0]))])


SPOILT: dict[str, tuple[str, Any]] = {
    "five rows": ("examples of another block", _five),
    "three rows": ("examples of another block", lambda one: one.take(torch.tensor([0, 1, 2]))),
    "no rows": ("examples of another block", lambda one: one.take(torch.tensor([], dtype=torch.int64))),
    "other places": ("examples of another block", lambda one: replace(one, index=one.index + 4)),
    "order": ("examples of another block", lambda one: one.take(torch.tensor([1, 0, 2, 3]))),
    "a shorter column": ("not one row an example", lambda one: replace(one, x=one.x[:3])),
    "a column of nothing": ("not one row an example", lambda one: replace(one, distance=torch.tensor(0.1))),
    "broken by 77": ("another plan than one of 2", lambda one: replace(one, broken_by=torch.full((4,), 77))),
    "broken by -2": ("another plan than one of 2", lambda one: replace(one, broken_by=torch.full((4,), -2))),
    "columns of another plan": ("another plan", lambda one: replace(one, forwards=one.forwards[:, :3])),
    "one count a row": ("another plan", lambda one: replace(one, forwards=one.forwards[:, 0])),
    "negative seconds": ("seconds are no times", lambda one: replace(one, seconds=one.seconds - 9)),
    "seconds that are no number": ("seconds are no times", lambda one: replace(one, seconds=one.seconds / 0)),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_block_sealed_anew_that_could_not_be_one_is_computed_again(what: str, folder: Path, clean: Path) -> None:
    message, spoil = SPOILT[what]
    kept = Run.at(folder)
    kept.save(1, spoil(kept.read(1)))
    assert_computed_again(folder, clean, message)


@pytest.mark.parametrize("name", ["broken_by", "distance", "x", "forwards", "y"])
def test_a_block_changed_by_another_tool_is_computed_again(name: str, folder: Path, clean: Path) -> None:
    tensors = load_file(block(folder, 1))
    tensors[name] = torch.full_like(tensors[name], 77)
    save_file(tensors, block(folder, 1))
    assert_computed_again(folder, clean, "was written by an older version")


def test_a_column_that_is_missing_or_too_many_is_computed_again(folder: Path, clean: Path) -> None:
    from sparring.sealed import seal_tensors, unseal_tensors

    about = {"run": Run.at(folder).header["run"], "block": "1"}
    whole = unseal_tensors(block(folder, 1).read_bytes(), about)
    for tensors in ({**whole, "more": torch.zeros(4)}, {key: whole[key] for key in whole.keys() - {"evidence"}}):
        block(folder, 1).write_bytes(seal_tensors(tensors, about))
        assert_computed_again(folder, clean, "it has other columns than a block")


# Bits.


def _flips(path: Path, count: int, seed: int) -> Iterator[int]:
    """Random bits of a file, those at its beginning and end among them."""
    size = 8 * path.stat().st_size
    draws = torch.Generator().manual_seed(seed)
    yield from {3, size - 2, *torch.randint(size, (count,), generator=draws).tolist()}


def _flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(content))


def _run_or_refused(folder: Path) -> Result | None:
    try:
        return run(folder)
    except sp.ResumeError:
        return None


FILES = {
    "run.json": 12,
    "blocks/000000.safetensors": 10,
    "blocks/000005.safetensors": 8,
    "ledger.jsonl": 8,
    "results.json": 4,
    "adversarial.safetensors": 4,
}


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_in_any_file_is_refused_or_the_result_is_the_same(name: str, folder: Path, clean: Path) -> None:
    whole, found = (clean / name).read_bytes(), run(folder)
    for bit in _flips(clean / name, FILES[name], seed=len(name)):
        _flip(folder / name, bit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            again = _run_or_refused(folder)
        assert again is not None or name == "run.json"
        if again is not None:
            assert_equal(again.x, found.x)
            assert_same(folder, clean)
        (folder / name).write_bytes(whole)


def test_the_files_of_a_run_are_all_tried() -> None:
    """A file that is added to a run belongs into FILES."""
    from sparring.evaluation.run import WRITTEN

    assert {name.partition("/")[0] for name in FILES} | {"images", "picture.png"} == {"run.json", *WRITTEN}


def test_a_header_of_an_older_version_is_refused_with_a_clear_error(folder: Path) -> None:
    header = json.loads((folder / "run.json").read_text())
    for changes, told in (({"format": 1}, "format 1, this one reads 2"), ({"format": None}, "format None")):
        (folder / "run.json").write_text(json.dumps({**header, **changes}))
        with pytest.raises(sp.ResumeError, match=rf"run.json cannot be used: it was written by an older .*{told}"):
            run(folder)
        with pytest.raises(sp.ResumeError, match=told):
            sp.merge([folder], folder.parent / "merged")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"format": 2}', "[" * 100_000])
def test_a_header_that_is_none_is_refused(text: str, folder: Path) -> None:
    (folder / "run.json").write_text(text)
    with pytest.raises(sp.ResumeError, match=r"run.json cannot be used: .*Remove the folder to start again"):
        run(folder)


def test_a_header_changed_by_hand_is_refused(folder: Path) -> None:
    header = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**header, "seed": 1}, indent=2))
    with pytest.raises(sp.ResumeError, match="its checksum differs"):
        run(folder, seed=1)


def test_the_header_of_another_run_does_not_take_over_the_blocks(folder: Path, clean: Path, tmp_path: Path) -> None:
    """Each part names its run: with another header, none of the blocks is used."""
    other = run(tmp_path / "other", net=Mortal(seed=1))
    shutil.copy(tmp_path / "other" / "run.json", folder / "run.json")
    with pytest.warns(UserWarning, match=r"is not used: its run is"):
        again = run(folder, net=Mortal(seed=1))
    assert torch.equal(again.block.broken_by, other.block.broken_by)
    assert not torch.equal(other.block.broken_by, run(clean).block.broken_by)


def test_a_damaged_block_is_not_merged(folder: Path, tmp_path: Path) -> None:
    for bit in _flips(block(folder, 1), 6, seed=1):
        whole = block(folder, 1).read_bytes()
        _flip(block(folder, 1), bit)
        with pytest.raises(sp.ResumeError, match=r"000001.safetensors cannot be used: .*evaluate again to compute it"):
            sp.merge([folder], tmp_path / "merged")
        block(folder, 1).write_bytes(whole)
    assert not (tmp_path / "merged").exists()


# Audits.


def audited(out: Path) -> Any:
    """An evaluation with an audit of few examples."""
    return run(out, data=(X[:6], labels()[:6]), plan=[sp.FGSM()], audit=True).audit


def test_an_audit_that_is_damaged_or_of_another_run_is_run_again(tmp_path: Path) -> None:
    from sparring.sealed import seal

    first = audited(tmp_path)
    kept, mine = tmp_path / "blocks" / "audit.json", Run.at(tmp_path).header["run"]
    whole = kept.read_bytes()
    told = json.loads(whole)
    assert (told["format"], told["run"]) == (FORMAT, mine)
    spoilt = {
        "its checksum differs": json.dumps({**told, "verdict": "unreliable"}).encode(),
        "it is of another run": seal({**told, "run": "0" * 32}),
        "an older version": json.dumps({key: told[key] for key in told.keys() - {"format"}}).encode(),
        "no JSON text": whole[:100],
        "naive": seal({key: told[key] for key in told.keys() - {"naive"}}),
    }
    for message, content in spoilt.items():
        kept.write_bytes(content)
        with pytest.warns(UserWarning, match=rf"(?s)audit.json is not used: .*{message}"):
            assert Audit.load(kept.parent, mine) is None
    with pytest.warns(UserWarning, match="The audit is run again"):
        assert replace(audited(tmp_path), seconds=0) == replace(first, seconds=0)
    assert Audit.load(kept.parent, mine) is not None  # kept once more


# Formats.


def _formats(path: Path) -> Any:
    """What a file says its format is, looked at with the usual tools."""
    if path.suffix == ".json":
        return json.loads(path.read_text())["format"]
    if path.suffix == ".jsonl":
        return json.loads(path.read_text().splitlines()[0])["format"]
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            return int(json.loads(file.metadata()["sparring"])["format"])
    if path.suffix == ".npz":
        with np.load(path) as file:
            return int(file["format"])
    with Image.open(path) as image:
        return int(image.text["sparring"].removeprefix("format "))  # type: ignore[attr-defined]


class Picture(nn.Module):
    """The network of the other tests, asked about images."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Mortal()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x.flatten(1))
        return logits


def test_every_file_that_a_run_writes_names_its_format(tmp_path: Path) -> None:
    images = X.reshape(22, 1, 2, 3)
    found = run(tmp_path, net=Picture(), data=(images, labels()), threat=sp.Linf(0.3), audit=True)
    assert found.export(tmp_path / "images")["images"] > 0
    files = [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert {path.suffix for path in files} == {".json", ".jsonl", ".safetensors", ".npz", ".png"}
    assert len(files) > -(-22 // BLOCK) + 6
    assert {path.name: _formats(path) for path in files} == {path.name: FORMAT for path in files}

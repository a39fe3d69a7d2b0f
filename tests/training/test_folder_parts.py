"""The parts of a training's folder: what is damaged, or of another training, is written again or refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

from models import linear
from runs import assert_equal, kept, state, without_seconds
from sparring.defenses import Defense, Distillation, Standard
from sparring.errors import ResumeError
from sparring.training import Trained, train
from typed import Type

FORMAT = 2
X = torch.rand(24, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(24) % 3


def run(out: Path, epochs: int = 2, defense: Defense | None = None, seed: int = 0, net: nn.Module | None = None) -> Any:
    return train(
        net or linear(16, 3), (X, Y), defense or Standard(), epochs=epochs, batch_size=12, out=out, seed=seed, lr=0.1
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    """A training of two epochs, and its folder; copied, never changed."""
    out = tmp_path_factory.mktemp("whole")
    return run(out), out


@pytest.fixture
def folder(whole: tuple[Trained, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole[1], tmp_path / "run"))


def content(folder: Path) -> dict[str, bytes]:
    """Every file in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _bits(path: Path, count: int) -> Iterator[int]:
    """Random bits of a file, and some at its beginning and its end."""
    size = 8 * path.stat().st_size
    yield from (1, 8 * 40, size - 3, size - 8 * 70)
    yield from torch.randint(size, (count,), generator=torch.Generator().manual_seed(size)).tolist()


def flip(path: Path, bit: int) -> None:
    changed = bytearray(path.read_bytes())
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(changed))


def test_a_checkpoint_with_a_flipped_bit_is_refused_and_left_as_it_is(folder: Path) -> None:
    """In the archive's own checksums bits are flipped that torch.load does not look at."""
    checkpoint = folder / "checkpoint.pt"
    before = checkpoint.read_bytes()
    for bit in _bits(checkpoint, 40):
        flip(checkpoint, bit)
        spoilt = checkpoint.read_bytes()
        with pytest.raises(ResumeError, match=r"checkpoint.pt is no readable checkpoint .*; remove the folder"):
            run(folder, epochs=3)
        assert checkpoint.read_bytes() == spoilt
        checkpoint.write_bytes(before)
    assert len(run(folder, epochs=3).history) == 3


@pytest.mark.parametrize("name", ["model.safetensors", "metrics.jsonl"])
def test_what_repeats_the_checkpoint_is_written_again(name: str, folder: Path, whole: tuple[Trained, Path]) -> None:
    before = content(folder)
    for bit in _bits(folder / name, 4):
        flip(folder / name, bit)
        assert_equal(state(run(folder).model), state(whole[0].model))
        assert content(folder) == before


def test_a_checkpoint_of_an_older_version_is_named(folder: Path) -> None:
    found = {name: value for name, value in kept(folder).items() if name != "format"}
    torch.save(found, folder / "checkpoint.pt")  # as the versions before this one wrote it
    with pytest.raises(
        ResumeError, match=r"was written by an older version of sparring \(format None, this one reads 2"
    ):
        run(folder)
    (folder / "checkpoint.pt").write_bytes(b"weights of somebody else's")
    with pytest.raises(ResumeError, match="no readable checkpoint of a training: it is no zip file"):
        run(folder)


def test_a_checkpoint_that_another_tool_changed_is_refused(folder: Path) -> None:
    found = kept(folder)
    found["model"] = {name: value + 1 for name, value in found["model"].items()}
    torch.save(found, folder / "checkpoint.pt")
    with pytest.raises(ResumeError, match="no readable checkpoint"):
        run(folder)


def test_the_checkpoint_of_another_training_is_refused(folder: Path, tmp_path: Path) -> None:
    others: list[dict[str, Any]] = [{"seed": 1}, {"net": linear(16, 3, seed=1)}, {"defense": Standard(2.0)}]
    for at, other in enumerate(others):
        run(tmp_path / str(at), **other)
        shutil.copy(tmp_path / str(at) / "checkpoint.pt", folder / "checkpoint.pt")
        with pytest.raises(ResumeError, match=r"keeps another run: there the .* is "):
            run(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "metrics.jsonl", "recipe.toml", "teacher", "tensorboard"])
def test_parts_without_a_checkpoint_are_refused_and_left_as_they_are(name: str, tmp_path: Path) -> None:
    part = tmp_path / name
    if "." in name:
        part.write_text("somebody else's")
    else:
        part.mkdir()
        (part / "notes.txt").write_text("somebody else's")
    before = content(tmp_path)
    with pytest.raises(ResumeError, match=re.escape(f"has {name} and no checkpoint that says whose they are; move")):
        run(tmp_path)
    assert content(tmp_path) == before


def test_every_part_of_a_teacher_is_checked_too(tmp_path: Path) -> None:
    clean = run(tmp_path / "run", defense=Distillation())
    teacher = tmp_path / "run" / "teacher"
    before = content(tmp_path / "run")
    for bit in _bits(teacher / "checkpoint.pt", 4):
        flip(teacher / "checkpoint.pt", bit)
        with pytest.raises(ResumeError, match=r"teacher/checkpoint.pt is no readable checkpoint"):
            run(tmp_path / "run", defense=Distillation())
        (teacher / "checkpoint.pt").write_bytes(before["teacher/checkpoint.pt"])
    for name in ("model.safetensors", "metrics.jsonl"):
        flip(teacher / name, 777)
    again = run(tmp_path / "run", defense=Distillation())
    assert content(tmp_path / "run") == before
    assert_equal(state(again.model), state(clean.model))
    shutil.copy(tmp_path / "run" / "checkpoint.pt", teacher / "checkpoint.pt")  # the student's as its teacher's
    with pytest.raises(ResumeError, match=r"teacher keeps another run"):
        run(tmp_path / "run", defense=Distillation())


def test_a_teacher_that_has_learned_anew_is_not_the_one_that_the_student_learned_from(tmp_path: Path) -> None:
    first = run(tmp_path / "run", defense=Distillation())
    shutil.rmtree(tmp_path / "run" / "teacher")
    again = run(tmp_path / "run", defense=Distillation())  # it is trained again, to the same weights
    assert_equal(state(again.model), state(first.model))
    shutil.rmtree(tmp_path / "run" / "teacher")
    run(tmp_path / "other", defense=Distillation(), seed=1)
    shutil.copytree(tmp_path / "other" / "teacher", tmp_path / "run" / "teacher")
    with pytest.raises(ResumeError, match=r"teacher keeps another run"):
        run(tmp_path / "run", defense=Distillation())


# Recipes.

LINE = "train --model zoo:digits-mlp --data digits --defense standard --epochs 1 --limit 32 --batch-size 16 --quiet"


def test_a_recipe_with_a_flipped_bit_is_refused_or_says_the_same(type_: Type) -> None:
    assert type_(f"{LINE} --out t").code == 0
    path, before = Path("t/recipe.toml"), content(Path("t"))
    size = 8 * path.stat().st_size
    codes = set()
    for bit in torch.randint(size, (14,), generator=torch.Generator().manual_seed(1)).tolist():
        flip(path, bit)
        said = type_("train --out t --quiet")
        codes.add(said.code)
        assert said.code in (0, 2), said.err
        if said.code == 2:
            assert "recipe" in said.err
            path.write_bytes(before["recipe.toml"])
        assert content(Path("t")) == before
    assert 2 in codes


def test_a_recipe_of_another_format_or_changed_by_hand_is_refused(type_: Type) -> None:
    assert type_(f"{LINE} --out t").code == 0
    path, before = Path("t/recipe.toml"), Path("t/recipe.toml").read_text()
    for old, new, told in (
        ("format = 2", "format = 1", "was written by another version of sparring (format 1, this one reads 2)"),
        ("format = 2\n", "", "was written by another version of sparring (format None, this one reads 2)"),
        ("epochs = 1", "epochs = 2", "is not as sparring train wrote it"),
        ("[kept]", "[keep]", "recipe t/recipe.toml: keep is unknown"),
    ):
        assert old in before
        path.write_text(before.replace(old, new))
        said = type_("train --out t --quiet")
        assert said.code == 2
        assert told in said.err
        assert kept(Path("t"))["history"][-1]["epoch"] == 1


def test_a_recipe_of_the_users_in_the_folder_of_a_training_is_not_overwritten(type_: Type) -> None:
    assert type_(f"{LINE} --out t").code == 0
    Path("t/recipe.toml").write_text("# mine\nepochs = 1\n")
    said = type_(f"{LINE} --out t")
    assert said.code == 2
    assert "is not as sparring train wrote it" in said.err
    assert Path("t/recipe.toml").read_text() == "# mine\nepochs = 1\n"


# Formats.


def test_every_file_that_a_training_writes_names_its_format(type_: Type) -> None:
    import tomllib

    line = LINE.replace("standard", "distillation")
    assert type_(f"{line} --out t").code == 0
    for place in (Path("t"), Path("t/teacher")):
        with safe_open(place / "model.safetensors", "pt") as file:
            assert json.loads(file.metadata()["sparring"])["format"] == str(FORMAT)
        lines = (place / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["format"] for line in lines] == [FORMAT]
        assert kept(place)["format"] == FORMAT
    assert tomllib.loads(Path("t/recipe.toml").read_text())["kept"]["format"] == FORMAT
    names = {Path(name).name for name in content(Path("t")) if "tensorboard" not in name}
    assert names == {"checkpoint.pt", "model.safetensors", "metrics.jsonl", "recipe.toml"}


def test_metrics_repeat_the_history(whole: tuple[Trained, Path]) -> None:
    lines = [json.loads(line) for line in (whole[1] / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"format": FORMAT, **record} for record in whole[0].history]
    assert without_seconds(kept(whole[1])["history"]) == without_seconds(whole[0].history)

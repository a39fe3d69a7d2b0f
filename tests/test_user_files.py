"""Folders that runs write into: one training at a time, the user's own files stay, and nothing goes through a link."""

from __future__ import annotations

import json
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import sparring as sp
from evaluation.cases import X, assert_same, labels, run
from models import linear
from sparring.cli.demo import Demo
from sparring.defenses import HAT, Distillation, Standard
from sparring.errors import InputError, ResumeError
from sparring.files import replacing
from sparring.training import Trained, train
from typed import Type

DATA = torch.rand(24, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3
EVALUATION = ("results.json", "adversarial.safetensors", "ledger.jsonl", "blocks", "images", "picture.png")
TRAINING = ("checkpoint.pt", "model.safetensors", "metrics.jsonl", "recipe.toml", "teacher", "tensorboard")
MINE = b"somebody's own"


def learn(out: Path, progress: Callable[[Any], None] | None = None, **changes: Any) -> Trained:
    asked = {"net": linear(16, 3), "data": DATA, "defense": Standard(), "epochs": 2, "batch_size": 12, **changes}
    return train(**asked, out=out, progress=progress)


def content(folder: Path) -> dict[str, bytes]:
    """Every file in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def own(path: Path) -> None:
    """A file of the user's, or a folder with one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix:
        path.write_bytes(MINE)
    else:
        path.mkdir()
        (path / "mine.txt").write_bytes(MINE)


# Two at once.


@pytest.mark.parametrize(
    "changes",
    [{}, {"seed": 1}, {"net": linear(16, 3, seed=1)}, {"defense": Standard(2.0)}, {"epochs": 5}, {"resume": False}],
    ids=lambda changes: ", ".join(changes) or "the same",
)
def test_who_trains_in_a_folder_where_another_trains_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    alone = learn(tmp_path / "alone")
    refused = []

    def second(record: Any) -> None:
        before = content(tmp_path / "run")
        with pytest.raises(ResumeError, match=r"another process trains in .*; wait for it, or choose another folder"):
            learn(tmp_path / "run", **changes)
        assert content(tmp_path / "run") == before
        refused.append(record["epoch"])

    first = learn(tmp_path / "run", second)
    assert refused == [1, 1, 2, 2]
    assert all(map(torch.equal, first.model.parameters(), alone.model.parameters()))
    learn(tmp_path / "run", epochs=3)  # it is free again


def test_a_folder_is_free_again_after_a_training_that_failed(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    for epoch in (1, 2):

        def stop(record: Any, last: int = epoch) -> None:
            if record["epoch"] == last:
                raise Stop

        with pytest.raises(Stop):
            learn(tmp_path, stop)
    assert len(learn(tmp_path).history) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "model.safetensors", "metrics.jsonl"}


def test_a_teacher_too_is_trained_by_one_process_alone(tmp_path: Path) -> None:
    refused = []

    def second(record: Any) -> None:
        if record.get("teacher") and not refused:
            for place in (tmp_path, tmp_path / "teacher"):
                with pytest.raises(ResumeError, match="another process trains in"):
                    learn(place)
                refused.append(place.name)

    learn(tmp_path, second, defense=Distillation())
    assert len(refused) == 2


def test_who_holds_a_file_that_was_removed_does_not_hold_the_folder(tmp_path: Path) -> None:
    """Who finishes removes the lock's file: who opened it before must not train beside who makes it anew."""
    from sparring.locks import alone

    path = tmp_path / ".training"
    with alone(path) as first:
        path.unlink()
        with alone(path) as second, alone(path) as third:
            assert (first, second, third) == (True, True, False)


# What those leave who die.


def test_temporary_files_of_those_who_died_are_removed(tmp_path: Path) -> None:
    run(tmp_path / "clean")
    run(tmp_path / "run")
    left = [
        *(tmp_path / "run" / f".{name}.0123456789abcdef" for name in ("run.json", "results.json", "picture.png")),
        tmp_path / "run" / ".adversarial.safetensors.00000000000000ff",
        tmp_path / "run" / "blocks" / ".000001.safetensors.0123456789abcdef",
        tmp_path / "run" / "blocks" / ".audit.json.0123456789abcdef",
        tmp_path / "run" / "blocks" / ".000001.claim",
    ]
    for path in left:
        path.write_bytes(b"half of it")
    run(tmp_path / "run")
    assert content(tmp_path / "run").keys() == content(tmp_path / "clean").keys()
    assert_same(tmp_path / "run", tmp_path / "clean")

    learn(tmp_path / "training")
    before = content(tmp_path / "training")
    for name in ("checkpoint.pt", "model.safetensors", "metrics.jsonl", "recipe.toml"):
        (tmp_path / "training" / f".{name}.0123456789abcdef").write_bytes(b"half of it")
    learn(tmp_path / "training")
    assert content(tmp_path / "training") == before


def test_hidden_files_of_the_user_are_no_temporary_files(tmp_path: Path) -> None:
    names = (".notes.0123456789abcdef", ".results.json.bak", ".checkpoint.pt.old", "results.json.0123456789abcdef")
    for name in (*names, ".env", ".claim"):
        (tmp_path / name).write_bytes(MINE)
    run(tmp_path)
    learn(tmp_path)
    after = content(tmp_path)
    assert all(after[name] == MINE for name in (*names, ".env", ".claim"))


def test_a_temporary_file_that_is_being_written_stays(tmp_path: Path) -> None:
    learn(tmp_path)
    with replacing(tmp_path / "model.safetensors") as file:
        file.write(b"new")
        learn(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == b"new"


# The user's own files.


@pytest.mark.parametrize("name", EVALUATION)
def test_an_evaluation_does_not_take_the_place_of_the_users_files(name: str, tmp_path: Path) -> None:
    own(tmp_path / "run" / name)
    own(tmp_path / "run" / "notes.txt")
    before = content(tmp_path / "run")
    for begin in (run, lambda out: sp.merge([tmp_path / "whole"], out)):
        run(tmp_path / "whole")
        with pytest.raises(ResumeError, match=f"has {name} and no run.json that says whose they are; move them away"):
            begin(tmp_path / "run")
        assert {key: value for key, value in content(tmp_path / "run").items() if key != ".lock"} == before


@pytest.mark.parametrize("name", [name for name in EVALUATION if name != "blocks"])
def test_a_header_alone_does_not_make_the_users_files_its_own(name: str, tmp_path: Path) -> None:
    """A header may be copied into a folder to begin a shard there."""
    run(tmp_path / "first", shard=(1, 2))
    own(tmp_path / "second" / name)
    shutil.copy(tmp_path / "first" / "run.json", tmp_path / "second")
    before = content(tmp_path / "second")
    with pytest.raises(ResumeError, match=f"has {name} and no block that says whose they are"):
        run(tmp_path / "second", shard=(2, 2))
    assert {key: value for key, value in content(tmp_path / "second").items() if key != ".lock"} == before


@pytest.mark.parametrize("name", TRAINING)
def test_a_training_does_not_take_the_place_of_the_users_files(name: str, tmp_path: Path) -> None:
    own(tmp_path / name)
    own(tmp_path / "notes.txt")
    before = content(tmp_path)
    with pytest.raises(ResumeError, match="no readable checkpoint" if name == "checkpoint.pt" else "move them away"):
        learn(tmp_path)
    assert content(tmp_path) == before


def test_who_was_refused_has_left_no_mark_that_the_files_are_its_own(tmp_path: Path) -> None:
    own(tmp_path / "checkpoint.pt")
    own(tmp_path / "model.safetensors")
    for message in ("no readable checkpoint", "has model.safetensors and no checkpoint"):
        with pytest.raises(ResumeError, match=message):
            learn(tmp_path)
        (tmp_path / "checkpoint.pt").unlink(missing_ok=True)
    assert content(tmp_path) == {"model.safetensors": MINE}


def test_a_folder_of_the_users_named_as_a_later_teacher_stays(tmp_path: Path) -> None:
    own(tmp_path / "teacher-2")
    before = content(tmp_path)
    with pytest.raises(ResumeError, match="has teacher-2 and no checkpoint"):
        learn(tmp_path, defense=Distillation() + HAT(attack=sp.PGD(steps=1)), threat=sp.Linf(0.1))
    assert content(tmp_path) == before


def test_other_files_in_the_folder_stay_as_they_are(tmp_path: Path) -> None:
    names = (
        "notes.txt",
        "net.py",
        "data.npz",
        "audit.json",
        "demo.png",
        "results",
        "blocks.txt",
        "weights.safetensors",
    )
    for name in names:
        own(tmp_path / name)
    before = content(tmp_path)
    run(tmp_path)
    learn(tmp_path)
    assert {name: value for name, value in content(tmp_path).items() if name in before} == before


def test_an_audit_does_not_take_the_place_of_the_users_file(type_: Type) -> None:
    line = "audit --model zoo:digits-mlp --threat linf:0.1 --examples 4 --quiet"
    for text in ("mine", "{}", '{"verdict": "reliable"}', "[1, 2]"):
        own(Path("mine/audit.json"))
        Path("mine/audit.json").write_text(text)
        said = type_(f"{line} --out mine")
        assert (said.code, Path("mine/audit.json").read_text()) == (2, text), said.err
        assert "audit.json is not replaced: " in said.err
    for seed in (0, 1):  # an earlier audit is replaced
        assert type_(f"{line} --out ours --seed {seed}").code in (0, 3)
    assert json.loads(Path("ours/audit.json").read_text())["format"] == 2


@pytest.mark.parametrize("name", ["results.json", "demo.png", "natural.safetensors"])
def test_a_demo_does_not_take_the_place_of_the_users_files(name: str, tmp_path: Path) -> None:
    own(tmp_path / name)
    with pytest.raises(ResumeError, match=f"has {name} and no results.json of an earlier demo"):
        Demo(tmp_path).run()
    assert content(tmp_path) == {name: MINE}


# Links.


def linked(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize("kind", ["file", "folder", "nothing"])
@pytest.mark.parametrize("name", ["run.json", ".lock", *EVALUATION])
def test_an_evaluation_writes_through_no_link(name: str, kind: str, tmp_path: Path) -> None:
    target = tmp_path / "outside" / ("file.txt" if kind == "file" else "absent" if kind == "nothing" else "folder")
    if kind == "nothing":
        target.parent.mkdir()
    else:
        own(target)
    before = content(tmp_path / "outside")
    linked(tmp_path / "run" / name, target)
    with pytest.raises((InputError, ResumeError), match=r"is a link|run.json cannot be used"):
        run(tmp_path / "run")
    assert content(tmp_path / "outside") == before
    assert (tmp_path / "run" / name).is_symlink()


@pytest.mark.parametrize("name", [".training", *TRAINING])
@pytest.mark.parametrize("kind", ["file", "folder", "nothing"])
def test_a_training_writes_through_no_link(name: str, kind: str, tmp_path: Path) -> None:
    target = tmp_path / "outside" / ("file.txt" if kind == "file" else "absent" if kind == "nothing" else "folder")
    if kind == "nothing":
        target.parent.mkdir()
    else:
        own(target)
    before = content(tmp_path / "outside")
    linked(tmp_path / "run" / name, target)
    with pytest.raises(InputError, match=f"{name} is a link, and nothing is written through one"):
        learn(tmp_path / "run")
    assert content(tmp_path / "outside") == before
    assert (tmp_path / "run" / name).is_symlink()


@pytest.mark.parametrize("name", ["ledger.jsonl", "results.json", "blocks/000001.safetensors", "blocks/.000001.claim"])
def test_a_run_that_goes_on_writes_through_no_link(name: str, tmp_path: Path) -> None:
    run(tmp_path / "run")
    own(tmp_path / "outside.txt")
    (tmp_path / "run" / "blocks" / "000001.safetensors").unlink()
    (tmp_path / "run" / name).unlink(missing_ok=True)
    linked(tmp_path / "run" / name, tmp_path / "outside.txt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a block that is not used
        with pytest.raises(InputError, match="is a link, and nothing is written through one"):
            run(tmp_path / "run")
    assert (tmp_path / "outside.txt").read_bytes() == MINE


def test_a_teachers_folder_that_is_a_link_is_not_written_into(tmp_path: Path) -> None:
    own(tmp_path / "outside")
    before = content(tmp_path / "outside")
    linked(tmp_path / "run" / "teacher-2", tmp_path / "outside")
    with pytest.raises(InputError, match="teacher-2 is a link"):
        learn(tmp_path / "run", defense=Distillation() + HAT(attack=sp.PGD(steps=1)), threat=sp.Linf(0.1))
    assert content(tmp_path / "outside") == before


def test_images_are_written_through_no_link(tmp_path: Path) -> None:
    found = run(None, threat=sp.Linf(0.3))
    own(tmp_path / "outside.txt")
    own(tmp_path / "outside")
    linked(tmp_path / "images" / "adversarial.npz", tmp_path / "outside.txt")
    linked(tmp_path / "linked", tmp_path / "outside")
    for folder in ("images", "linked"):
        with pytest.raises(InputError, match="is a link, and nothing is written through one"):
            found.export(tmp_path / folder)
    assert (tmp_path / "outside.txt").read_bytes() == MINE
    assert content(tmp_path / "outside") == {"mine.txt": MINE}


# Time.


@pytest.fixture
def backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every clock is set back by a second whenever it is read."""
    now = [1e6]

    def read() -> float:
        now[0] -= 1.0
        return now[0]

    for clock in ("perf_counter", "time", "monotonic"):
        monkeypatch.setattr(time, clock, read)


@pytest.mark.usefixtures("backwards")
def test_a_clock_that_is_set_back_makes_no_negative_seconds(tmp_path: Path) -> None:
    data = X[:6], labels()[:6]
    found = run(tmp_path, data=data, plan="standard")
    assert bool((found.block.seconds >= 0).all())
    assert found.seconds >= 0
    assert all(row["seconds"] >= 0 for row in found.table)
    lines = (tmp_path / "ledger.jsonl").read_text().splitlines()
    assert all(json.loads(line)["seconds"] >= 0 for line in lines)
    assert json.loads((tmp_path / "results.json").read_text())["seconds"] >= 0
    again = run(tmp_path, data=data, plan="standard")  # what it kept is believed
    assert torch.equal(again.block.seconds, found.block.seconds)


@pytest.mark.usefixtures("backwards")
def test_nor_do_trainings_and_audits_under_such_a_clock(tmp_path: Path) -> None:
    assert all(record["seconds"] >= 0 for record in learn(tmp_path).history)
    assert sp.audit(linear(6, 3), (X[:4], labels()[:4]), sp.Linf(0.1)).seconds >= 0


@pytest.mark.usefixtures("backwards")
def test_nor_does_each_attack_alone() -> None:
    each = run(None, data=(X[:6], labels()[:6]), individual=True)
    assert bool((each.block.single_cost >= 0).all())
    assert all(row["alone"]["seconds"] >= 0 for row in each.table if row["kind"] == "attack")

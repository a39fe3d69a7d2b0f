"""The ledger of a run, and that nothing depends on where the run was interrupted."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import sparring as sp
from evaluation.cases import ATTACKS, BLOCK, X, assert_same, labels, ledger, run
from runs import exits
from sparring import locks
from sparring.evaluation.block import Block
from sparring.evaluation.ledger import lines
from sparring.evaluation.run import Run

KILLED = {  # by the calls of the network after which a session is killed
    "at-once": (0,),
    "early": (1, 5),
    "in-the-middle": (30,),
    "again-and-again": (25, 2, 12, 5),
    "shard1": (10, 5),
    "shard2": (5, 12),
    "shard3": (11, 1),
}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("clean")
    run(folder)
    return folder


def killed(name: str, folder: str) -> None:
    """In a process of its own: one session of a run."""
    case, calls = name.split(":")
    if case == "saved":
        Run.save = _killed_once_saved(int(calls))  # type: ignore[method-assign]
        run(Path(folder) / case)
    elif case == "crowd":
        _crowd(Path(folder) / case)
    else:
        run(Path(folder) / case, int(calls), shard=(int(case[-1]), 3) if case.startswith("shard") else None)


def _killed_once_saved(count: int) -> Any:
    save, saved = Run.save, []

    def dying(self: Run, number: int, block: Block) -> None:
        save(self, number, block)
        saved.append(number)
        if len(saved) == count:
            os.kill(os.getpid(), 9)

    return dying


def _crowd(folder: Path) -> None:
    """Three processes at one folder, of which one dies in the middle of a block."""
    children = []
    for calls in (None, 10, None):
        if (child := os.fork()) == 0:
            run(folder, calls)
            os._exit(0)
        children.append(child)
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert ended[0] == ended[2] == 0


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder for each case, left by sessions that were killed."""
    folder = tmp_path_factory.mktemp("interrupted")
    names = [f"{case}:{calls}" for case, sessions in KILLED.items() for calls in sessions]
    ended = exits(__file__, "killed", folder, [*names, "saved:3", "crowd:0"])
    assert ended.pop("crowd:0") == 0
    assert set(ended.values()) == {-9}
    return folder


@pytest.mark.parametrize("case", ["at-once", "early", "in-the-middle", "again-and-again", "saved"])
def test_a_killed_run_goes_on_to_the_same_bytes(case: str, interrupted: Path, clean: Path) -> None:
    assert not (interrupted / case / "results.json").exists()
    run(interrupted / case)
    assert_same(interrupted / case, clean)


def test_three_shards_each_interrupted_twice_and_merged_are_one_run(interrupted: Path, clean: Path) -> None:
    folders = [interrupted / f"shard{part}" for part in (1, 2, 3)]
    found = [run(folder, shard=(part, 3)) for part, folder in enumerate(folders, 1)]
    assert [len(result.index) for result in found] == [8, 8, 6]
    merged = sp.merge(folders, interrupted / "whole")
    assert_same(interrupted / "whole", clean)
    assert torch.equal(merged.index, torch.arange(len(X)))
    assert torch.equal(merged.x[found[1].index], found[1].x)


def test_processes_share_a_folder_and_take_over_from_one_that_died(interrupted: Path, clean: Path) -> None:
    assert_same(interrupted / "crowd", clean)


def test_a_torn_ledger_is_cut_back_and_completed(tmp_path: Path, clean: Path) -> None:
    run(tmp_path)
    path = tmp_path / "ledger.jsonl"
    whole = path.read_bytes()
    for end in range(0, len(whole), len(whole) // 5):
        for tail in (b"", bytes(40)):
            path.write_bytes(whole[:end] + tail)
            run(tmp_path)
            assert path.read_bytes() == whole
    assert_same(tmp_path, clean)


def test_a_block_that_was_removed_is_computed_again_and_its_lines_replaced(tmp_path: Path, clean: Path) -> None:
    run(tmp_path)
    (tmp_path / "blocks" / "000002.safetensors").unlink()
    run(tmp_path)
    assert_same(tmp_path, clean)


def test_a_line_for_every_example_and_rung_that_took_it(clean: Path) -> None:
    result = run(clean)
    told = [json.loads(line) for line in (clean / "ledger.jsonl").read_text().splitlines()]
    names = ["clean", *(repr(attack) for attack in ATTACKS), "checks"]
    assert (told[0]["rung"], told[0]["format"], told[0]["forwards"]) == ("first look", 2, 5)
    assert [(line["index"], line["rung"]) for line in told[1:]] == [
        (row, name)
        for row, spent in enumerate(result.block.forwards.tolist())
        for name, count in zip(names, spent, strict=True)
        if count
    ]
    assert sum(line["forwards"] for line in told) == result.forwards
    assert sum(line["backwards"] for line in told) == result.backwards
    assert [line["index"] for line in told if line["fell"]] == (~result.robust).nonzero().squeeze(1).tolist()
    fell = {line["index"]: line for line in told if line["fell"]}
    assert all(line["distance"] == float(result.distance[index]) for index, line in fell.items())
    assert all(line["distance"] is None for line in told if not line["fell"])
    assert {index for index, line in fell.items() if line["rung"] == "clean"} == {3, 17}
    # What lies between: each rung takes what still stands, and the checks what stands in the end.
    assert [line["index"] for line in told if line["rung"] == "checks"] == result.robust.nonzero().squeeze(1).tolist()


@pytest.mark.parametrize("name", ["ledger.jsonl", "blocks", "results.json"])
def test_a_full_disk_leaves_a_run_that_goes_on(
    name: str, tmp_path: Path, clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full after so many bytes of that file, in the third block where there are several."""
    write, left = os.fdopen, [3 if name != "results.json" else 1]

    def opened(handle: int, mode: str) -> Any:
        file = write(handle, mode)
        if name in os.readlink(f"/proc/self/fd/{handle}"):
            left[0] -= 1
            if left[0] == 0:
                file.write(b"half of")
                file.flush()
                file.close()
                raise OSError(errno.ENOSPC, "No space left on device")
        return file

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdopen", opened)
        with pytest.raises(OSError, match="No space left"):
            run(tmp_path)
    assert not (tmp_path / "results.json").exists()
    run(tmp_path)
    assert_same(tmp_path, clean)


def test_where_the_system_knows_no_locks(tmp_path: Path, clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unknown)
    assert locks.locked((clean / "run.json").open("rb"), wait=False) is None
    run(tmp_path)
    assert_same(tmp_path, clean)


def test_a_run_keeps_to_the_threads_and_block_size_of_its_first_session(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        header = run(None, limit=BLOCK).header
        Run.open(tmp_path, header, True, None)
        torch.set_num_threads(1)
        seen = []

        def told(_: sp.evaluation.Progress) -> None:
            seen.append(torch.get_num_threads())

        result = run(tmp_path, batch_size=None, limit=BLOCK, progress=told)
        assert set(seen) == {2}
        assert torch.get_num_threads() == 1
        assert (result.header["block_size"], result.header["threads"]) == (BLOCK, 2)
    finally:
        torch.set_num_threads(before)


def test_a_header_alone_is_a_run_not_begun(tmp_path: Path, clean: Path) -> None:
    """Copied to another machine it settles the block size there; who begins, and with which shard, is told anew."""
    (tmp_path / "run.json").write_bytes((clean / "run.json").read_bytes())
    result = run(tmp_path, batch_size=None, shard=(2, 3), command="begun elsewhere", resume=False)
    header = json.loads((tmp_path / "run.json").read_text())
    assert (header["block_size"], header["shard"], header["command"]) == (BLOCK, "2/3", "begun elsewhere")
    assert {**result.header, "kind": "evaluation", "sha256": header["sha256"]} == header
    with pytest.raises(sp.ResumeError, match="its shard is '2/3', this one's '1/3'"):
        run(tmp_path, shard=(1, 3))


def test_the_ledger_says_by_how_much_the_closest_look_missed(clean: Path) -> None:
    block = Run.at(clean).load(1)
    assert block is not None
    missed = torch.full_like(block.missed, torch.nan)
    missed[2, 0], missed[2, 1] = 0.25, 0.0
    told = lines(replace(block, missed=missed), Run.at(clean).header)
    assert {str(line["missed"]) for line in told if line["index"] == BLOCK + 2} == {"0.25", "0.0", "None"}
    assert {line["missed"] for line in told if line["index"] != BLOCK + 2} == {None}


def test_misses_and_labels_are_kept(clean: Path) -> None:
    block = Run.at(clean).load(1)
    assert block is not None
    assert torch.equal(block.y, labels()[BLOCK : 2 * BLOCK])
    assert torch.equal(block.index, torch.arange(BLOCK, 2 * BLOCK))
    assert block.missed.shape == block.forwards.shape
    assert len(ledger(clean)) > len(X)


def test_the_header_says_what_the_data_were(clean: Path) -> None:
    told = json.loads((clean / "run.json").read_text())["data"]
    assert (told["examples"], told["shape"]) == (len(X), list(X.shape[1:]))

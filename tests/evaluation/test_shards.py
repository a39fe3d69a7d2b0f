"""Several processes, started by torchrun, and shards that are merged: the result of one process, to the last bit."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import sparring as sp
from evaluation.cases import BLOCK, Mortal, X, assert_same, labels, run
from runs import assert_equal, two_processes
from sparring.evaluation import Result
from sparring.evaluation.merging import _equal
from sparring.evaluation.run import Run
from sparring.processes import Processes, joined


class Failing(Mortal):
    """A network that gives NaN in the second process, after a while."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        return super().forward(x) * (float("nan") if self.calls > 5 and os.environ.get("RANK") == "1" else 1)


def told(result: Result) -> dict[str, Any]:
    """What every process must return alike."""
    fields = {name: getattr(result.block, name) for name in ("x", "broken_by", "distance", "forwards", "index", "y")}
    records = {k: v for k, v in result.records().items() if k not in ("seconds", "table", "audit")}
    return {**fields, "records": json.dumps(records), "accuracies": [row["robust_accuracy"] for row in result.table]}


def error(**changes: Any) -> str:
    """What an evaluation that fails says."""
    try:
        run(None, **changes)
    except sp.SparringError as found:
        return f"{type(found).__name__}: {found}"
    return "nothing"


def work(folder: Path) -> None:
    """In each of the processes."""
    rank = int(os.environ["RANK"])
    seen: list[int] = []
    found = {
        "folder": told(run(folder / "shared", progress=lambda step: seen.append(step.done))),
        "again": told(run(folder / "shared")),
        "memory": told(run(None)),
        "shard": told(run(folder / "shard", shard=(1, 2))),
        # One fails, or has another network: none waits for ever.
        "broken": error(net=Failing()),
        "other": error(net=Mortal(seed=rank)),
        "seen": seen,
    }
    with joined(torch.device("cpu")) as processes:
        found["led"], found["each"] = processes.lead(lambda: rank), processes.each(lambda: rank)
    torch.save(found, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes worked, `0.pt` and `1.pt` telling what each found."""
    return two_processes(__file__, tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one process."""
    folder = tmp_path_factory.mktemp("clean")
    run(folder)
    return folder


def test_two_processes_leave_the_folder_of_one(folder: Path, clean: Path) -> None:
    assert_same(folder / "shared", clean)


@pytest.mark.parametrize("way", ["folder", "again", "memory"])
def test_every_process_returns_the_result_of_one(way: str, both: list[dict[str, Any]], clean: Path) -> None:
    alone = told(run(clean))
    for found in both:
        for name in alone.keys() - {"records"}:
            assert_equal(found[way][name], alone[name])
    assert both[0][way]["records"] == both[1][way]["records"]


def test_processes_share_a_shard_too(both: list[dict[str, Any]], clean: Path) -> None:
    alone = run(clean)
    for found in both:
        assert torch.equal(found["shard"]["x"], alone.x[found["shard"]["index"]])
    assert both[0]["shard"]["index"].tolist() == [*range(4), *range(8, 12), *range(16, 20)]


def test_only_the_first_process_speaks(both: list[dict[str, Any]]) -> None:
    assert both[0]["seen"][-1] == len(X)
    assert both[1]["seen"] == []


def test_what_the_first_process_finds_all_are_told(both: list[dict[str, Any]]) -> None:
    assert [(found["led"], found["each"]) for found in both] == [(0, [0, 1])] * 2


def test_what_fails_in_one_process_fails_in_all(both: list[dict[str, Any]]) -> None:
    for found in both:
        assert "model.sha256" in found["other"]
        assert found["other"].startswith("InputError: process 0 has")
        assert found["broken"].startswith("ModelError: ")


def test_one_process_needs_no_others() -> None:
    with joined(torch.device("cpu")) as processes:
        assert processes == Processes(0, 1)
        assert processes.each(lambda: "alone") == ["alone"]
        assert processes.lead(lambda: "alone") == "alone"


# Shards.


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("shards")
    for part in (1, 2, 3):
        run(folder / str(part), shard=(part, 3))
    return [folder / str(part) for part in (1, 2, 3)]


def test_the_result_of_a_shard_is_that_of_its_examples(shards: list[Path], clean: Path) -> None:
    whole, part = run(clean), run(shards[1], shard=(2, 3))
    assert part.index.tolist() == [*range(4, 8), *range(16, 20)]
    assert part.examples == 8
    assert torch.equal(part.robust, whole.robust[part.index])
    assert torch.equal(part.y, labels()[part.index])
    assert torch.equal(part.problem.x, X[part.index])
    assert part.findings[0].startswith("This is shard 2/3: 8 of 22 examples.")
    saved = json.loads((shards[1] / "results.json").read_text())
    assert (saved["shard"], saved["examples"]) == ("2/3", 8)
    assert load_file(shards[1] / "adversarial.safetensors")["index"].tolist() == part.index.tolist()


def test_merged_shards_are_one_run_without_model_or_data(shards: list[Path], clean: Path, tmp_path: Path) -> None:
    merged = sp.merge(list(reversed(shards)), tmp_path / "whole")
    assert_same(tmp_path / "whole", clean)
    assert_equal(told(merged) | {"records": ""}, told(run(clean)) | {"records": ""})
    with pytest.raises(sp.InputError, match="a merged result knows neither model nor inputs"):
        merged.export(tmp_path / "images")
    again = run(tmp_path / "whole", net=Mortal(2))  # attacks nothing, for its network would die
    assert again.problem.x.shape == X.shape
    sp.merge(shards, tmp_path / "whole")  # what was interrupted is begun again
    assert_same(tmp_path / "whole", clean)


def test_runs_that_overlap_are_merged_where_they_agree(shards: list[Path], clean: Path, tmp_path: Path) -> None:
    run(tmp_path / "half", shard=(2, 2))
    sp.merge([*shards, tmp_path / "half"], tmp_path / "whole")
    assert_same(tmp_path / "whole", clean)


OTHER = {
    "threat.radius is 0.06 in the first and 0.05": {"threat": sp.Linf(0.05)},
    "seed is 0 in the first and 1": {"seed": 1},
    "model.sha256": {"net": Mortal(seed=1)},
    "data.sha256": {"data": (X.flip(0), labels())},
    "attacks[1].name": {"plan": (sp.FGSM(), sp.PGD(steps=2))},
    "evaluate the second again with batch_size=4": {"batch_size": 5},
}


@pytest.mark.parametrize("message", OTHER)
def test_another_run_is_refused_by_the_name_of_the_difference(message: str, shards: list[Path], tmp_path: Path) -> None:
    run(tmp_path / "other", shard=(2, 3), **OTHER[message])
    with pytest.raises(sp.ResumeError, match=re.escape(message)):
        sp.merge([shards[0], tmp_path / "other", shards[2]], tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


def test_missing_examples_are_named_with_how_to_get_them(shards: list[Path], tmp_path: Path) -> None:
    missing = r"examples 4 to 7, 16 to 19 of 22 are in none .* evaluate with shard=\(2, 3\) \(--shard 2/3\)"
    with pytest.raises(sp.ResumeError, match=missing):
        sp.merge([shards[0], shards[2]], tmp_path / "whole")
    with pytest.raises(sp.ResumeError, match="there is no run"):
        sp.merge([*shards, tmp_path], tmp_path / "whole")
    with pytest.raises(sp.InputError, match="at least one"):
        sp.merge([], tmp_path / "whole")


def test_a_block_with_two_contents_is_refused(shards: list[Path], tmp_path: Path) -> None:
    run(tmp_path / "half", shard=(1, 2))
    half = Run.at(tmp_path / "half")
    block = half.read(2)
    half.save(2, replace(block, distance=block.distance + 1e-7))
    with pytest.raises(sp.ResumeError, match=r"block 2 \(examples 8 to 11\) differs between .* in distance"):
        sp.merge([*shards, tmp_path / "half"], tmp_path / "whole")
    half.path(2).write_bytes(half.path(0).read_bytes())
    with pytest.raises(sp.ResumeError, match=r"000002.safetensors cannot be used: its block is '0', not '2'"):
        sp.merge([*shards, tmp_path / "half"], tmp_path / "whole")


def test_columns_are_equal_to_the_last_bit_of_the_same_shape_and_type() -> None:
    one = torch.tensor([[1.0, float("nan")]])
    assert _equal(one, one.clone())
    for other in (one.T, one.flatten(), one.view(torch.int32), one.double(), torch.tensor([[1.0, 0.0]])):
        assert not _equal(one, other)
    assert not _equal(torch.zeros(1), -torch.zeros(1))


def test_where_the_system_knows_no_locks_a_merge_writes_its_ledger_all_the_same(
    shards: list[Path], clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparring.evaluation.ledger.locked", lambda file, wait: None)
    sp.merge(shards, tmp_path / "whole")
    assert_same(tmp_path / "whole", clean)


@pytest.mark.parametrize("shard", [(0, 3), (4, 3), (1,), "1/3", (1.0, 3)])
def test_what_is_no_shard_is_named(shard: Any) -> None:
    with pytest.raises(sp.InputError, match=r"shard is .*; give a pair such as \(1, 3\)"):
        run(None, shard=shard)


def test_an_empty_shard_is_named_and_leaves_no_run(tmp_path: Path) -> None:
    with pytest.raises(sp.InputError, match="shard 7/9 is empty: of 22 examples, 4 a block, there are 6 blocks"):
        run(tmp_path, shard=(7, 9))
    assert not (tmp_path / "run.json").exists()


def test_the_command_line_shards_and_merges(type_: Any, tmp_path: Path) -> None:
    line = f"evaluate --model zoo:digits-mlp --threat linf:0.1 --limit 10 --batch-size {BLOCK} --quiet"
    for part in (1, 2):
        said = type_(f"{line} --shard {part}/2 --out {part}")
        assert "untrained" in said.err
        assert f"This is shard {part}/2" in said.err
    assert type_(f"{line} --out whole").code in (0, 3)
    said = type_("merge 1 2 --out merged --json --require 0.99")
    assert said.code == 1
    assert json.loads(said.out) == json.loads(Path("merged/results.json").read_text())
    one, other = (json.loads(Path(name, "results.json").read_text()) for name in ("merged", "whole"))
    assert one["robust_accuracy"] == other["robust_accuracy"]
    said = type_("merge 1 --out half")
    assert (said.code, said.out) == (2, "")
    assert "--shard 2/2" in said.err
    assert "write it as 1/3" in type_(f"{line} --shard 3 --no-save").err


def test_of_several_processes_only_the_first_one_speaks(type_: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "evaluate --model zoo:digits-mlp --threat linf:0.1 --limit 4 --json"
    with monkeypatch.context() as patched:
        patched.setenv("WORLD_SIZE", "2")
        assert "the processes of torchrun share a folder" in type_(line).err
    monkeypatch.setenv("RANK", "1")
    said = type_(f"{line} --out runs/a --require 1")
    assert (said.code, said.out, said.err) == (0, "", "")


if __name__ == "__main__":
    torch.set_num_threads(1)
    work(Path(sys.argv[1]))

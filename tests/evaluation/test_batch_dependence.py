"""A network whose answer to an example depends on the others of its batch is found, and not called reliable."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from models import OneByOne, Then, relu, seeded
from sparring.defenses.masking.noise import GaussianNoise
from sparring.evaluation import Result
from typed import Type

X = torch.rand(64, 1, 4, 4, generator=torch.Generator().manual_seed(3))
TOLD = "depends on the batch"


class Over(nn.Module):
    """The network A on what `change` makes of the inputs of a batch."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.change = relu(16, 3, width=32), change
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return self.net(8 * self.change(x) - 4)


def evaluated(net: Any, rows: int = 64, **changes: Any) -> Result:
    """On what the network says of all examples at once, so that nearly all are right."""
    with torch.no_grad():
        y = sp.Model.of(copy.deepcopy(net))(X[:rows]).argmax(1)
    asked = {"threat": sp.Linf(0.005), "plan": [sp.FGSM(), sp.PGD(steps=2)], "batch_size": rows, **changes}
    return sp.evaluate(net, (X[:rows], y), **asked)


def told(result: Result) -> list[str]:
    """What it says about batches."""
    return [finding for finding in result.findings if TOLD in finding]


INPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "the mean": lambda v: v - v.mean(0) + 0.3,
    "a little of the mean": lambda v: v + 0.05 * v.mean(0),
    "the first": lambda v: v - v[:1] + 0.3,
    "the last": lambda v: v - v[-1:] + 0.3,
    "the one before": lambda v: (v + v.roll(1, 0)) / 2,
    "the one after": lambda v: (v + v.roll(-1, 0)) / 2,
    "those before": lambda v: v.cumsum(0) / torch.arange(1, len(v) + 1).reshape(-1, 1, 1, 1),
    "the median": lambda v: v - v.median(0).values + 0.3,
    "the spread": lambda v: v / (v - v.mean(0)).pow(2).mean(0).add(1e-2).sqrt(),
    "the size": lambda v: v * (1 + 0.1 * len(v)),
    "the largest": lambda v: v / v.abs().amax((0, 1, 2, 3)) * (1 + v.var(0).sum()) if len(v) > 1 else v,
}


@pytest.mark.parametrize("batch_size", [2, 8])
@pytest.mark.parametrize("what", INPUTS)
def test_an_answer_that_depends_on_others_of_the_batch_is_told(what: str, batch_size: int) -> None:
    result = evaluated(Over(INPUTS[what]), 8, batch_size=batch_size)
    assert result.verdict != "reliable"
    (finding,) = told(result)
    assert "alone, an example moves by" in finding
    assert "use evaluation mode, or batch_size=1" in finding


def test_the_network_of_the_issue_has_other_numbers_at_another_batch_size_and_says_so() -> None:
    net = Over(INPUTS["the mean"])
    with torch.no_grad():
        y = net(X).argmax(1)
    alone, together = (sp.evaluate(net, (X, y), sp.Linf(0.005), [sp.FGSM()], batch_size=size) for size in (1, 64))
    assert together.robust_accuracy > alone.robust_accuracy + 0.2
    assert together.verdict == "unreliable"
    assert len(told(together)) == 1
    assert told(alone) == []  # at a batch size of 1 every row is looked at alone: that is what the number says


def test_logits_that_are_normalised_over_the_batch_are_told() -> None:
    changes: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda z: z.softmax(0),
        lambda z: z / z.norm(dim=0),
        lambda z: z - z.mean(0),
        lambda z: z / z.abs().amax(),
    )
    for change in changes:
        result = evaluated(Then(relu(16, 3), change), batch_size=32)
        assert len(told(result)) == 1
        assert result.verdict == "unreliable"


def _normalised(dimension: int) -> nn.Module:
    """A network with BatchNorm, in training mode."""
    first = nn.Conv2d(1, 4, 3) if dimension == 2 else nn.Sequential(nn.Flatten(), nn.Linear(16, 16))
    norm = nn.BatchNorm2d(4) if dimension == 2 else nn.BatchNorm1d(16)
    return nn.Sequential(first, norm, nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).train()


@pytest.mark.parametrize("dimension", [1, 2])
def test_batch_norm_in_training_mode_is_told_and_in_evaluation_mode_it_is_not(dimension: int) -> None:
    net = seeded(lambda: _normalised(dimension), 0)
    training = evaluated(sp.Model(net, mode="as-is"))
    assert training.verdict == "unreliable"
    assert len(told(training)) == 1
    assert net[1].num_batches_tracked == 0  # nobody's statistics were touched by the looks
    assert told(evaluated(sp.Model(net))) == []  # sparring looks at it in evaluation mode
    assert evaluated(sp.Model(net)).verdict == "reliable"


HONEST: dict[str, Callable[[], Any]] = {
    "relu": lambda: relu(16, 3),
    "row by row": lambda: OneByOne(relu(16, 3)),
    "large logits": lambda: Then(relu(16, 3), lambda z: 1e6 * z),
    "small logits": lambda: Then(relu(16, 3), lambda z: 1e-6 * z),
    "shifted logits": lambda: Then(relu(16, 3), lambda z: z + 100),
    "double": lambda: relu(16, 3).double(),
    "softmax of each row": lambda: Then(relu(16, 3), lambda z: z.softmax(1)),
    "convolution": lambda: seeded(lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(32, 3)), 0),
    "layer norm": lambda: nn.Sequential(nn.Flatten(), nn.LayerNorm(16), relu(16, 3)),
    "dropout": lambda: nn.Sequential(nn.Dropout(0.5), relu(16, 3)),
}


@pytest.mark.parametrize("batch_size", [2, 3, 8])
@pytest.mark.parametrize("what", HONEST)
def test_honest_networks_are_not_accused(what: str, batch_size: int) -> None:
    assert told(evaluated(HONEST[what](), 8, batch_size=batch_size)) == []


@pytest.mark.parametrize("what", ["relu", "convolution", "row by row", "layer norm"])
def test_honest_networks_stay_reliable(what: str) -> None:
    assert evaluated(HONEST[what]()).verdict == "reliable"


class Noisy(nn.Module):
    """Draws of its own, from torch's generator."""

    def __init__(self) -> None:
        super().__init__()
        self.net = relu(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        noisy: Tensor = self.net(x + 0.3 * torch.randn_like(x))
        return noisy


def test_random_networks_are_not_taken_for_ones_that_depend_on_the_batch() -> None:
    for net in (Noisy(), GaussianNoise(0.3)(relu(16, 3))):
        for batch_size in (2, 8):
            assert told(evaluated(net, 8, batch_size=batch_size)) == []


def test_the_look_costs_one_pass_more_and_every_pass_is_counted() -> None:
    for change, looks in ((INPUTS["the mean"], 4 + 1 + 4), (lambda v: v, 4 + 1)):
        net = Over(change)
        with torch.no_grad():
            y = net(X).argmax(1)
        net.seen = 0
        result = sp.evaluate(net, (X, y), sp.Linf(0.005), [sp.FGSM()], batch_size=64)
        assert result.forwards == net.seen
        (first,) = (row for row in result.table if row["kind"] == "first look")
        assert first["forwards"] == looks


def test_it_stands_in_the_folder_and_is_told_by_who_goes_on_and_merges(tmp_path: Path) -> None:
    net = Over(INPUTS["the mean"])
    for part in (1, 2):
        evaluated(net, out=tmp_path / str(part), shard=(part, 2), batch_size=16)
    merged = sp.merge([tmp_path / "1", tmp_path / "2"], tmp_path / "whole")
    again = evaluated(net, out=tmp_path / "whole", batch_size=16)
    for result in (merged, again):
        assert result.verdict == "unreliable"
        assert len(told(result)) == 1
    saved = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert saved["verdict"] == "unreliable"
    assert told(merged)[0] in saved["findings"]


NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, v):
        return self.net(v - v.mean(0) + .3)
"""


def test_the_command_line_says_so_and_ends_with_3(type_: Type) -> None:
    Path("net.py").write_text(NET)
    said = type_("evaluate --model net.py:Net --threat linf:0.01 --plan quick --limit 64 --batch-size 64 --no-save")
    assert said.code == 3
    assert "The answer of the network depends on the batch" in said.err + said.out

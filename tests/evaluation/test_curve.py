"""A curve over the radius: the closed form where there is one, and what separate evaluations find elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import sparring as sp
from evaluation.cases import BLOCK, Mortal, assert_same
from evaluation.cases import run as evaluated
from models import linear, relu
from quick import NORMS
from reference import fewest_features, to_boundary
from sparring.data import load
from sparring.evaluation import Result
from sparring.evaluation.curve import radii
from sparring.evaluation.trace import NEAREST
from sparring.zoo import SmallCNN
from typed import Type

GRIDS = {"linf": "0:0.24:9", "l2": "0.1:0.6:6", "l1": "0:1:6", "l0": "0:4:5"}
PLAN = (sp.PGD(steps=20, objective="margin", n_targets=2),)
WIDE = (-9.0, 9.0)  # so that only the norm says how far the boundary is


def points(rows: int = 40, features: int = 12) -> Tensor:
    return 0.35 + 0.3 * torch.rand(rows, features, generator=torch.Generator().manual_seed(3))


def run(norm: str = "linf", plan: Any = PLAN, **changes: Any) -> Result:
    """A linear network of three classes, of which it gets four examples wrong."""
    net, x = linear(12, 3, seed=1), points()
    with torch.no_grad():
        y = net(x).argmax(1)
    y[:4] = (y[:4] + 1) % 3
    model = net if norm == "l0" else sp.Model(net, bounds=WIDE)
    return sp.evaluate(model, (x, y), NORMS[norm](), plan, **{"eps": GRIDS[norm], **changes})


def exact(norm: str) -> Any:
    """(N,) how far the nearest wrong class is: nothing for the first four examples."""
    net, x = linear(12, 3, seed=1), points()
    distance = fewest_features(net, x, 0, 1) if norm == "l0" else to_boundary(norm, net, x)
    distance[:4] = -1
    return distance


@pytest.mark.parametrize("norm", NORMS)
def test_of_a_linear_network_it_is_the_closed_form(norm: str) -> None:
    plan: Any = {"l1": [sp.FAB(steps=30, n_targets=2)], "l0": [replace(PLAN[0], steps=100, restarts=3)]}.get(norm, PLAN)
    result, distance = run(norm, plan), exact(norm)
    grid = radii(GRIDS[norm])
    assert result.curve is not None
    assert [point.eps for point in result.curve] == list(grid)
    wanted = [float((distance > eps).mean()) for eps in grid]
    found = [point.robust_accuracy for point in result.curve]
    if norm == "l0":  # where no attack is exact: one example of the forty is missed
        assert all(share >= least for share, least in zip(found, wanted, strict=True))
    assert found == (pytest.approx(wanted, abs=0.026) if norm == "l0" else wanted)
    assert len({point.robust_accuracy for point in result.curve}) > 3
    assert {point.examples for point in result.curve} == {40}
    # All else is said of the largest radius.
    assert norm == "l0" or result.robust.tolist() == (distance > grid[-1]).tolist()
    assert (result.robust_accuracy, result.interval) == (result.curve[-1].robust_accuracy, result.curve[-1].interval)
    assert result.header["threat"]["radius"] == grid[-1]


def test_examples_lie_within_the_radius_at_which_they_fall(tmp_path: Path) -> None:
    net, x = linear(12, 3, seed=1), points()
    result = run(out=tmp_path)
    kept = load_file(tmp_path / "adversarial.safetensors")
    fallen = result.block.broken_by > 0
    with torch.no_grad():
        assert bool((net(kept["x"]).argmax(1) != result.y)[fallen].all())
    moved = np.abs((kept["x"] - x).double().numpy()).max(1)
    assert (moved[fallen] <= kept["falls_at"].numpy()[fallen] * (1 + 1e-6) + 1e-6).all()
    assert torch.equal(kept["falls_at"] == torch.inf, result.robust)
    assert kept["falls_at"][:4].tolist() == [0, 0, 0, 0]
    assert torch.equal(kept["x"][result.robust], x[result.robust])
    saved = json.loads((tmp_path / "results.json").read_text())
    assert saved["curve"] == [point.records() for point in result.curve]
    assert saved["eps"] == list(radii(GRIDS["linf"]))


def test_it_never_rises_and_a_radius_of_nothing_leaves_the_clean_accuracy() -> None:
    net, x = relu(12, 3), points()
    with torch.no_grad():
        y = net(x).argmax(1)
    y[:4] = (y[:4] + 1) % 3
    # So short an attack misses much: at a larger radius it might find less.
    result = sp.evaluate(net, (x, y), sp.Linf(7.0), [sp.PGD(steps=1)], eps="0:0.3:31")
    shares = [point.robust_accuracy for point in result.curve]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == result.clean_accuracy == 0.9


@pytest.mark.parametrize("size", [4, 7, 40])
def test_it_does_not_depend_on_the_batch_size(size: int) -> None:
    one, other = run(), run(batch_size=size)
    assert torch.equal(one.block.falls, other.block.falls)
    assert one.curve == other.curve


def test_every_pass_is_counted() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.forwards, self.backwards = relu(12, 3), 0, 0

        def forward(self, x: Tensor) -> Tensor:
            self.forwards += len(x)
            if x.requires_grad:
                x.register_hook(lambda gradient: self._back(len(gradient)))
            return self.net(x)

        def _back(self, count: int) -> None:
            self.backwards += count

    net, x = Counting(), points()
    y = relu(12, 3)(x).argmax(1)
    result = sp.evaluate(net, (x, y), sp.Linf(), [sp.FGSM(), sp.PGD(steps=5)], eps="0:0.2:5", batch_size=16)
    assert (result.forwards, result.backwards) == (net.forwards, net.backwards)
    names = [row["name"] for row in result.table]
    assert names == ["clean", "first look", NEAREST.name, repr(sp.FGSM()), repr(sp.PGD(steps=5)), "checks"]
    assert result.forwards == sum(row["forwards"] for row in result.table)
    assert sum(row["broke"] for row in result.table) == int((~result.robust).sum())


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Tensor, Tensor]:
    """A network of the digits, and a hundred of them."""
    torch.manual_seed(0)
    data = load("digits", limit=100)
    return sp.train(SmallCNN(width=8), "digits", sp.defenses.Standard(), epochs=6).model, data.x, data.y


def test_it_agrees_with_separate_evaluations_and_costs_much_less(digits: tuple[nn.Module, Tensor, Tensor]) -> None:
    net, x, y = digits
    plan, grid = [sp.PGD(steps=20, objective="margin"), sp.APGD(steps=20)], radii("0:0.12:9")
    result = sp.evaluate(net, (x, y), sp.Linf(), plan, eps=grid)
    alone = [sp.evaluate(net, (x, y), sp.Linf(eps), plan) for eps in grid]
    shared = [point.robust_accuracy for point in result.curve]
    assert len(set(shared)) > 5
    # A row that withstands a radius is not tried at smaller ones, and the search finds some that the plan does not.
    assert shared == pytest.approx([one.robust_accuracy for one in alone], abs=0.011)
    assert 2 * (result.forwards + result.backwards) < sum(one.forwards + one.backwards for one in alone)


def test_a_plan_without_gradients_is_asked_for_none() -> None:
    result = run(plan=[sp.Square(queries=300)], eps=[0.1, 0.2])
    assert [row["name"] for row in result.table] == ["clean", "first look", repr(sp.Square(queries=300)), "checks"]
    assert sum(row["backwards"] for row in result.table[:-1]) == 0


def test_a_network_without_gradients_is_left_to_what_needs_none() -> None:
    net, x = linear(12, 3, seed=1), points()

    class Numbers(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return net(x).detach()

    y = net(x).argmax(1)
    result = sp.evaluate(Numbers(), (x, y), sp.Linf(), [sp.FGSM(), sp.Square(queries=300)], eps=[0.1, 0.2])
    broke = {row["name"]: row["broke"] for row in result.table}
    assert [broke[name] > 0 for name in (NEAREST.name, repr(sp.FGSM()), repr(sp.Square(queries=300)))] == [0, 0, 1]
    told = {row["name"]: row["reason"] for row in result.table}
    assert "no input gradient" in told[NEAREST.name]
    assert "no input gradient" in told[repr(sp.FGSM())]
    with pytest.raises(sp.SparringError, match="no input gradient"):
        sp.evaluate(Numbers(), (x, y), sp.Linf(), [sp.FGSM()], eps=[0.1, 0.2])


# The folder: what is killed goes on, and shards are merged.


def curved(out: Path | None, **changes: Any) -> Result:
    return evaluated(out, **{"threat": sp.Linf(), "eps": "0:0.06:4", **changes})


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("clean")
    curved(folder)
    return folder


def test_what_is_interrupted_goes_on_to_the_same_bytes(tmp_path: Path, clean: Path) -> None:
    seen = []

    def stop(step: sp.evaluation.Progress) -> None:
        seen.append(step)
        if step.done >= 2 * BLOCK:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        curved(tmp_path, progress=stop)
    assert NEAREST.name in {step.rung for step in seen}
    assert all(0 <= step.standing <= step.total for step in seen)
    assert len(list((tmp_path / "blocks").glob("[0-9]*"))) == 2
    curved(tmp_path)
    assert_same(tmp_path, clean)
    again = curved(tmp_path, net=Mortal(2))  # attacks nothing, for its network would die
    assert again.curve == curved(clean).curve


def test_shards_are_merged_into_one_curve(tmp_path: Path, clean: Path) -> None:
    for part in (1, 2):
        curved(tmp_path / str(part), shard=(part, 2))
    merged = sp.merge([tmp_path / "1", tmp_path / "2"], tmp_path / "whole")
    assert_same(tmp_path / "whole", clean)
    assert merged.curve == curved(clean).curve


def test_other_radii_are_another_run(tmp_path: Path) -> None:
    curved(tmp_path)
    for eps in (None, "0:0.06:3"):
        with pytest.raises(sp.ResumeError, match="its eps is"):
            curved(tmp_path, eps=eps, threat=sp.Linf(0.06))


def test_the_ledger_adds_up(clean: Path) -> None:
    result = curved(clean)
    told = [json.loads(line) for line in (clean / "ledger.jsonl").read_text().splitlines()]
    assert sum(line["forwards"] for line in told) == result.forwards
    assert sum(line["backwards"] for line in told) == result.backwards
    assert [line["index"] for line in told if line["fell"]] == (~result.robust).nonzero().squeeze(1).tolist()
    names = {"first look", "clean", NEAREST.name, repr(sp.FGSM()), repr(sp.PGD(steps=3)), "checks"}
    assert {line["rung"] for line in told} == names


def test_without_radii_there_is_no_curve() -> None:
    result = evaluated(None)
    assert result.curve is None
    assert result.records()["curve"] is None


# What is asked for.


def test_fractions_are_read_exactly() -> None:
    assert radii("0:16/255:9") == tuple(2 * step / 255 for step in range(9))
    assert radii(" 0.1 : 0.4:4") == (0.1, 0.2, 0.3, 0.4)
    assert radii(torch.tensor([0.0, 0.5])) == radii([0, 0.5]) == radii((0.0, 0.5)) == (0.0, 0.5)


WRITTEN = [
    "0:16/255",
    "a:b:c",
    "",
    "0:1:2:3",
    "-1:1:3",
    "1:0:3",
    "0:0:2",
    "0:1:0",
    "0:1:1",
    "0:1/0:3",
    "0:nan:3",
    "0:1:2.5",
]
GIVEN = [[], [0.0], [-0.1, 0.1], [0.1, 0.1], [0.2, 0.1], [0.1, float("inf")], [float("nan")], ["a"], 0.1, sp.Linf]


@pytest.mark.parametrize("eps", [*WRITTEN, *GIVEN], ids=str)
def test_what_is_no_grid_is_named_with_what_is(eps: Any) -> None:
    with pytest.raises(sp.InputError) as error:
        evaluated(None, eps=eps)
    assert str(error.value).startswith(f"eps is {eps!r}; ")
    assert "0:16/255:9" in str(error.value)


def test_what_has_no_radius_to_set_is_named() -> None:
    class Own:
        radius = 0.1

        def around(self, x: Tensor, bounds: tuple[float, float]) -> Any:
            return sp.Linf(0.1).around(x, bounds)

    with pytest.raises(sp.InputError, match="eps sets the radius of one such as"):
        curved(None, threat=Own())
    with pytest.raises(sp.InputError, match=r"L0 has radius 0.5; give a whole number"):
        run("l0", eps="0:2:5")
    with pytest.raises(sp.InputError, match="plan has a rung named 'nearest'"):
        curved(None, plan=[replace(NEAREST, attack=sp.FGSM())])


def test_the_command_line_shows_a_table(type_: Type) -> None:
    line = "evaluate --model zoo:digits-mlp --threat linf --limit 10 --plan quick"
    said = type_(f"{line} --eps 0:8/255:3 --out a")
    assert said.code in (0, 3)
    rows = [words.split() for words in said.out.splitlines()]
    assert ["L∞", "≤", "robust", "95", "%", "interval"] in rows
    assert [row[0] for row in rows if row[:1] in (["0"], ["4/255"], ["8/255"])] == ["0", "4/255", "8/255"]
    assert len(json.loads(Path("a/results.json").read_text())["curve"]) == 3
    said = type_(f"{line} --eps 0:8/255 --no-save")
    assert (said.code, said.out) == (2, "")
    assert "eps is '0:8/255'" in said.err

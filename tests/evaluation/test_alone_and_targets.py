"""Each attack alone, beside what the sequence leaves; and evaluations that lead to chosen classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from hiding import Round
from models import relu
from sparring.errors import InputError
from sparring.evaluation import Result, Rung
from typed import Type

X = torch.rand(24, 6, generator=torch.Generator().manual_seed(1))
PLAN = (
    Rung("weak", sp.PGD(steps=1, step_size=0.02, random_start=False)),
    Rung("margin", sp.PGD(steps=6, objective="margin")),
    Rung("square", sp.Square(queries=20)),
)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = relu(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(8 * x - 4)


def labels() -> Tensor:
    with torch.no_grad():
        y = Net()(X).argmax(1)
    y[[2, 11]] = (y[[2, 11]] + 1) % 3
    return y


def evaluated(plan: Any = PLAN, **changes: Any) -> Result:
    threat = changes.pop("threat", sp.Linf(0.06))
    return sp.evaluate(Net(), (X, labels()), threat, plan, batch_size=8, **changes)


def attacks(result: Result) -> list[dict[str, Any]]:
    return [row for row in result.table if row["kind"] == "attack"]


def test_each_attack_alone_leaves_what_it_leaves_by_itself() -> None:
    whole = evaluated(individual=True)
    for row, rung in zip(attacks(whole), PLAN, strict=True):
        alone = evaluated([rung])
        by_itself = attacks(alone)[0]
        for what in ("robust_accuracy", "interval", "forwards", "backwards"):
            assert row["alone"][what] == by_itself[what], what
    assert len({row["alone"]["robust_accuracy"] for row in attacks(whole)}) > 1


def test_asking_for_each_alone_changes_nothing_of_the_sequence() -> None:
    plain, whole = evaluated(), evaluated(individual=True)
    assert torch.equal(plain.x, whole.x)
    assert torch.equal(plain.robust, whole.robust)
    for one, other in zip(attacks(plain), attacks(whole), strict=True):
        assert {**other, "alone": None, "seconds": 0} == {**one, "alone": None, "seconds": 0}
    assert "alone" not in attacks(plain)[0]
    # What each alone costs on examples that had fallen before has a row of its own.
    extra = next(row for row in whole.table if row["kind"] == "each alone")
    assert (whole.forwards - plain.forwards, whole.backwards - plain.backwards) == (
        extra["forwards"],
        extra["backwards"],
    )
    assert extra["forwards"] > 0


def test_each_alone_is_kept_resumed_and_merged(tmp_path: Path) -> None:
    whole = evaluated(individual=True, out=tmp_path / "whole")
    for part in (1, 2):
        evaluated(individual=True, out=tmp_path / f"{part}", shard=(part, 2))
    merged = sp.merge([tmp_path / "1", tmp_path / "2"], tmp_path / "merged")
    again = evaluated(individual=True, out=tmp_path / "whole")
    for other in (merged, again):
        for one, two in zip(attacks(whole), attacks(other), strict=True):
            assert one["alone"]["robust_accuracy"] == two["alone"]["robust_accuracy"]
            assert one["alone"]["forwards"] == two["alone"]["forwards"]
    with pytest.raises(sp.ResumeError, match="individual"):
        evaluated(out=tmp_path / "whole")


NEAR = [sp.FGSM(), Rung("near", sp.PGD(steps=2), within=0.3)]
LED = [Rung("led", sp.Square(random_start=False, queries=5), start="closest")]


@pytest.mark.parametrize("plan", ["standard", "a3", NEAR, LED], ids=["standard", "a3", "near", "led"])
def test_attacks_that_take_or_begin_by_what_others_found_have_no_result_of_their_own(plan: Any) -> None:
    with pytest.raises(InputError, match="individual"):
        evaluated(plan, individual=True)


def test_nor_have_they_over_many_radii() -> None:
    with pytest.raises(InputError, match="individual"):
        evaluated(threat=sp.Linf(), eps="0:0.1:3", individual=True)


def test_the_command_line_shows_each_alone(type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = type_("evaluate --model zoo:digits-mlp --threat linf:0.05 --plan quick --limit 10 --individual --out r")
    assert "alone" in said.out
    assert all(
        "alone" in row for row in json.loads(Path("r/results.json").read_text())["table"] if row["kind"] == "attack"
    )


# Targets.


def wanted() -> Tensor:
    """Another class than the label; the two examples that the network gets wrong say it from the start."""
    targets = (labels() + 1) % 3
    targets[[2, 11]] = (labels()[[2, 11]] + 2) % 3
    return targets


def test_robust_is_what_was_not_led_to_its_target() -> None:
    targets = wanted()
    with torch.no_grad():
        there = Net()(X).argmax(1) == targets
    result = evaluated(targets=targets, threat=sp.Linf(0.1))
    with torch.no_grad():
        said = Net()(result.x).argmax(1)
    assert torch.equal(result.robust, said != targets)
    assert 0 < int((~result.robust).sum()) < len(X)
    assert int(there.sum()) == 2
    assert not result.robust[there].any()  # it says so from the start
    assert torch.equal(result.x[result.robust], X[result.robust])
    # Led to any other class than the label is easier than to a chosen one.
    untargeted = evaluated(threat=sp.Linf(0.1))
    assert int(untargeted.robust.sum()) < int(result.robust.sum())


def test_a_linear_network_is_led_to_a_target_just_beyond_the_exact_distance() -> None:
    net = nn.Linear(6, 3)
    with torch.no_grad():
        net.weight.copy_(torch.randn(3, 6, generator=torch.Generator().manual_seed(2)))
        net.bias.zero_()
        logits = net(X)
    y = logits.argmax(1)
    targets = (y + 1) % 3
    model = sp.Model(net, bounds=(-9.0, 9.0))
    # To overtake the label alone: |z_y - z_t| / ||w_y - w_t||_1. The third class may stand in the way for longer.
    third = 3 - y - targets
    gaps = [
        (logits.gather(1, other[:, None]) - logits.gather(1, targets[:, None])).squeeze(1)
        / (net.weight[other] - net.weight[targets]).abs().sum(1)
        for other in (y, third)
    ]
    least = gaps[0].maximum(gaps[1]).detach()
    plan = [sp.PGD(steps=60, objective="margin"), sp.APGD(steps=60)]
    near = sp.evaluate(model, (X, y), sp.Linf(0.98 * least), plan, targets=targets)
    assert near.robust_accuracy == 1.0
    steps = 1.02 * least[:, None] * (net.weight[y] - net.weight[targets]).sign()
    with torch.no_grad():
        clear = net(X - steps).argmax(1) == targets  # only the label stands in the way, so this is the exact distance
    far = sp.evaluate(model, (X, y), sp.Linf(1.02 * least), plan, targets=targets)
    assert int(clear.sum()) > 5
    assert not far.robust[clear].any()


@pytest.mark.parametrize("plan", ["quick", "standard", "autoattack"])
def test_every_plan_can_be_led_to_targets(plan: str) -> None:
    result = evaluated(plan, targets=wanted(), threat=sp.Linf(0.2), limit=4)
    with torch.no_grad():
        assert torch.equal(result.robust, Net()(result.x).argmax(1) != wanted()[:4])


def test_a_target_that_is_the_label_or_no_class_is_an_error() -> None:
    targets = wanted()
    targets[5] = labels()[5]
    with pytest.raises(InputError, match=r"targets is . for example 5, which is its label"):
        evaluated(targets=targets)
    for bad, words in ((torch.full((24,), 7), "class"), (wanted()[:5], "24"), (wanted().double() + 0.5, "targets")):
        with pytest.raises(InputError, match=words):
            evaluated(targets=bad)
    with pytest.raises(InputError, match="audit"):
        evaluated(targets=wanted(), audit=True)


def test_targets_belong_to_the_run(tmp_path: Path) -> None:
    first = evaluated(targets=wanted(), out=tmp_path)
    assert torch.equal(evaluated(targets=wanted(), out=tmp_path).x, first.x)
    for other in (None, (labels() + 2) % 3):
        with pytest.raises(sp.ResumeError, match="targets"):
            evaluated(targets=other, out=tmp_path)


def test_alone_an_attack_follows_the_gradient_that_it_followed_in_turn() -> None:
    """One through the view that was found, and one along the network's own gradient, which rounding has taken."""
    net = nn.Sequential(Round(), Net())
    with torch.no_grad():
        y = net(X).argmax(1)
    plan = [Rung("seen", sp.PGD(steps=10), seen="best"), Rung("own", sp.PGD(steps=10, random_start=False))]
    result = sp.evaluate(net, (X, y), sp.Linf(0.1), plan, batch_size=24, individual=True)
    seen, own = (row["alone"]["robust_accuracy"] for row in attacks(result))
    assert seen < 0.9
    assert own == 1.0

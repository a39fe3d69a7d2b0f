"""The verdict of `evaluate`: its rules, its price, and its records; and that of an audit, from its findings."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from hiding import Before, Detached, Noise, NoisyHook, Round, StraightThrough, Times
from models import Counting, relu
from sparring.auditing import Audit, Finding
from sparring.auditing.probe import Evidence
from sparring.auditing.verdict import audited, believed, concluded
from sparring.evaluation import Result, evaluate
from sparring.gradients import FiniteDifferences
from sparring.sealed import seal, unseal

LINF = sp.Linf(0.05)
PLAN = [sp.FGSM(), sp.PGD(steps=5)]


def run(net: Any, examples: Any, threat: Any = LINF, plan: Any = PLAN, **keywords: Any) -> Result:
    return evaluate(net, examples, threat, plan, **keywords)


# --- the rules --------------------------------------------------------------------------------------------------------


def evidence(**columns: list[float]) -> Evidence:
    """Of 100 honest rows, with some columns changed in their first rows."""
    line = torch.linspace(-1, 1, 100, dtype=torch.float64)
    found = Evidence(
        random=torch.zeros(100).double(),
        cosine=torch.ones(100).double(),
        gain=torch.ones(100).double(),
        slope=line,
        near=line,
        far=line,
        withstood=torch.zeros(100).double(),
        absent=torch.zeros(100).double(),
    )
    changed = {}
    for name, values in columns.items():
        column = getattr(found, name).clone()
        column[: len(values)] = torch.tensor(values, dtype=torch.float64)
        changed[name] = column
    return replace(found, **changed)


def judged(
    correct: Tensor,
    robust: Tensor,
    dead: Tensor,
    blind: Tensor,
    found: Evidence,
    averaged: bool = False,
    attacks: int = 2,
) -> tuple[str, tuple[str, ...]]:
    return believed(correct, robust, dead, blind, found, averaged, attacks)


EVERY, NONE = torch.ones(100, dtype=torch.bool), torch.zeros(100, dtype=torch.bool)
NAN = float("nan")


def first(count: int) -> Tensor:
    return torch.arange(100) < count


@pytest.mark.parametrize(
    ("columns", "verdict", "word"),
    [
        ({}, "reliable", ""),
        ({"absent": [1.0] * 60}, "unreliable", "no input gradient"),
        ({"absent": [1.0] * 40}, "suspect", "no input gradient"),
        ({"cosine": [0.5] * 60}, "unreliable", "backward pass is noisy"),
        ({"cosine": [0.5] * 40}, "suspect", "backward pass is noisy"),
        ({"cosine": [0.995] * 100}, "reliable", ""),
        ({"random": [1.0] * 3}, "suspect", "logits are random"),
        ({"gain": [0.0] * 60}, "suspect", "on only 40%"),
        ({"gain": [0.0] * 40}, "reliable", ""),
        ({"near": [0.0] * 100}, "reliable", ""),
        ({"near": [0.0] * 100, "far": [0.0] * 100}, "suspect", r"correlate at 0\.00"),
        ({"withstood": [1.0] * 10}, "reliable", ""),
        ({"withstood": [1.0] * 11}, "suspect", "whole input range"),
        ({"withstood": [1.0] * 60}, "unreliable", "whole input range"),
        ({name: [NAN] * 100 for name in ("random", "cosine", "gain", "slope", "near", "far")}, "reliable", ""),
    ],
)
def test_what_the_checks_found_decides(columns: dict[str, list[float]], verdict: str, word: str) -> None:
    said, reasons = judged(EVERY, EVERY, NONE, NONE, evidence(**columns))
    assert said == verdict
    assert len(reasons) == bool(word)
    assert all(re.search(word, reason) for reason in reasons)


def test_blind_attacks_weigh_by_how_many_of_those_standing_they_were_blind_on() -> None:
    half = evidence()
    assert judged(EVERY, EVERY, first(60), first(60), half)[0] == "unreliable"
    assert judged(EVERY, EVERY, first(10), first(10), half)[0] == "suspect"
    assert judged(EVERY, first(10), first(6), first(6), half)[0] == "suspect"  # a handful may be chance
    assert judged(EVERY, first(10), first(10), first(10), half)[0] == "unreliable"
    # Blind on what another attack broke: no doubt about what stands, only a word where the first gradients were dead.
    fallen = ~first(50)
    assert judged(EVERY, first(50), fallen, fallen, half)[0] == "suspect"
    assert judged(EVERY, first(50), fallen & first(55), NONE, half) == ("reliable", ())


def test_few_right_are_suspect_and_where_next_to_nothing_stands_nothing_is_overstated() -> None:
    verdict, (reason,) = judged(first(49), first(49), NONE, NONE, evidence())
    assert verdict == "suspect"
    assert "only 49 examples" in reason
    wrong = evidence(absent=[1.0] * 100)
    assert judged(EVERY, first(2), NONE, NONE, wrong) == ("reliable", ())
    assert judged(EVERY, first(3), NONE, NONE, wrong)[0] != "reliable"


def test_one_attack_alone_is_suspect_and_draws_that_were_averaged_are_not() -> None:
    assert judged(EVERY, EVERY, NONE, NONE, evidence(), attacks=1)[0] == "suspect"
    random = evidence(random=[1.0] * 100)
    assert judged(EVERY, EVERY, NONE, NONE, random, averaged=True) == ("reliable", ())
    assert judged(EVERY, EVERY, NONE, NONE, random)[0] == "suspect"


def finding(name: str, says: Any = "reliable", flagged: bool = True) -> Finding:
    return Finding(name, 1.0, 0.5, flagged, says, "it is so")


@pytest.mark.parametrize(
    ("findings", "naive", "adaptive", "correct", "verdict"),
    [
        ((), 90, 90, 100, "reliable"),
        ((), 90, 82, 100, "reliable"),
        ((finding("B2 black box"),), 90, 81, 100, "unreliable"),
        ((finding("B6 loss"),), 90, 81, 100, "reliable"),
        ((finding("B6 loss"), finding("G4 tiny differences")), 90, 79, 100, "suspect"),
        ((finding("B6 loss"), finding("adaptive attack")), 90, 75, 100, "suspect"),
        ((finding("B6 loss"),), 90, 70, 100, "unreliable"),
        ((finding("B6 loss"), finding("G6 adjoint")), 90, 81, 100, "unreliable"),
        ((finding("G6 adjoint"),), 90, 90, 100, "reliable"),
        ((finding("G2 dead gradient", "suspect"),), 90, 90, 100, "suspect"),
        ((finding("G2 dead gradient", "suspect", False),), 90, 90, 100, "reliable"),
        ((finding("G1 graph", "unreliable"), finding("Z binarization", "suspect")), 90, 90, 100, "unreliable"),
        ((), 40, 40, 49, "suspect"),
        ((finding("B2 black box"),), 20, 14, 60, "suspect"),
    ],
)
def test_an_audit_concludes_from_the_gap_and_from_what_is_flagged(
    findings: tuple[Finding, ...], naive: int, adaptive: int, correct: int, verdict: str
) -> None:
    said, reasons = concluded(findings, naive, adaptive, correct, max(correct, 60))
    assert said == verdict
    assert bool(reasons) == (verdict != "reliable")


def test_an_audit_outweighs_an_evaluation_that_left_more_standing(natural: nn.Module, images: Any) -> None:
    audit = sp.audit(natural, images, sp.Linf(0.5))  # nothing stands
    own = ("reliable", ())
    right = natural(images[0]).argmax(1) == images[1]
    verdict, reasons = audited(own, audit, right, right)
    assert verdict == "unreliable"
    assert "The audit's attacks leave 0.0%" in reasons[0]
    assert audited(own, audit, right, right & ~right) == own
    doubted = replace(audit, verdict="unreliable", reasons=("so",))
    assert audited(own, doubted, right, right & ~right)[0] == "suspect"
    assert audited(("unreliable", ()), doubted, right, right & ~right)[0] == "unreliable"


# --- evaluations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["natural", "hardened", "convolutional"])
def test_honest_networks_are_reliable(kind: str, images: Any, request: pytest.FixtureRequest) -> None:
    found = run(request.getfixturevalue(kind), images)
    assert (found.verdict, found.findings) == ("reliable", [])
    assert found.robust_accuracy > 0.1


@pytest.mark.parametrize(
    ("front", "back", "plan", "verdict", "word"),
    [
        (Round(15), nn.Identity(), PLAN, "unreliable", "exactly zero"),
        (nn.Identity(), Times(1e5), PLAN, "unreliable", "exactly zero"),
        (NoisyHook(), nn.Identity(), PLAN, "unreliable", "backward pass is noisy"),
        (Detached(), nn.Identity(), [sp.Square(queries=20)], "unreliable", "no input gradient"),
        (Noise(0.1), nn.Identity(), PLAN, "suspect", "logits are random"),
        (StraightThrough(63), nn.Identity(), PLAN, "reliable", ""),
    ],
    ids=["round", "saturated", "hook", "detached", "noise", "straight through"],
)
def test_what_hides_is_told(
    front: nn.Module, back: nn.Module, plan: Any, verdict: str, word: str, natural: nn.Module, images: Any
) -> None:
    found = run(nn.Sequential(front, natural, back), images, plan=plan)
    assert found.verdict == verdict, found.findings
    assert any(word in one for one in found.findings) == bool(word)
    assert f"examples; {verdict}" in str(found)
    assert found.records()["verdict"] == verdict


@pytest.mark.parametrize("eot", [1, 3])
def test_blindness_is_seen_through_several_draws_too(eot: int, natural: nn.Module, images: Any) -> None:
    found = run(sp.Model(Before(Round(15), natural), eot=eot), images)
    assert any("Every input gradient of" in one for one in found.findings)


def test_the_checks_cost_at_most_20_passes_an_image_and_are_counted() -> None:
    x = torch.rand(60, 9, generator=torch.Generator().manual_seed(0))
    x[:, 0] = torch.arange(60) / 60
    inner = relu(9, 2)
    with torch.no_grad():
        y = inner(x).argmax(1)
    mask = torch.ones(9, dtype=torch.bool)
    mask[0] = False
    net = Counting(inner, 60)
    found = run(net, (x, y), sp.Linf(0.01, mask=mask))
    # The first look asks a few, and one in the middle of them once more alone.
    more = net.forwards - found.block.forwards.sum(1)
    assert more.nonzero().squeeze(1).tolist() == found.header["answers"]["examples"]
    assert more[more > 0].tolist() in ([1, 2, 1, 1], [1, 1, 2, 1])
    assert torch.equal(net.backwards, found.block.backwards.sum(1))
    assert found.forwards == int(net.forwards.sum())
    assert found.backwards == int(net.backwards.sum())
    roomy = run(inner, (x, y), sp.Linf(1e-7))  # without a mask there is one check more
    for one in (found, roomy):
        spent = one.block.forwards[:, -1] + one.block.backwards[:, -1]
        assert 4 < int(spent.max()) <= 20
        assert not bool(spent[~one.robust].any())
        checks = one.table[-1]
        assert checks["name"] == "checks"
        assert checks["forwards"] + checks["backwards"] == int(spent.sum())


@pytest.mark.parametrize(
    "front", [nn.Identity(), Round(15), NoisyHook(), Noise(0.05)], ids=lambda one: type(one).__name__
)
def test_the_verdict_does_not_depend_on_the_block_size(front: nn.Module, natural: nn.Module, images: Any) -> None:
    one, other = (run(Before(front, natural), images, batch_size=size) for size in (64, 10))
    assert one.verdict == other.verdict
    assert torch.equal(one.robust, other.robust)
    if not isinstance(front, NoisyHook):  # torch's own generator: what it draws depends on the block
        assert one.findings == other.findings
        torch.testing.assert_close(one.block.evidence, other.block.evidence, rtol=1e-3, atol=1e-3, equal_nan=True)


def test_a_range_without_an_end_and_a_threat_without_a_radius_are_evaluated(natural: nn.Module, images: Any) -> None:
    endless = sp.Model(natural, bounds=(float("-inf"), float("inf")))
    found = run(endless, images)
    assert found.verdict == "reliable"
    assert bool(Evidence(*found.block.evidence.unbind(1)).withstood.isnan().all())
    few = images[0][:9], images[1][:9]
    nearest = run(natural, few, sp.L2(), [sp.CarliniWagner(searches=2, steps=20)])
    assert nearest.verdict in ("reliable", "suspect")


def test_a_resumed_run_keeps_its_verdict_and_its_audit(natural: nn.Module, images: Any, tmp_path: Path) -> None:
    net = Before(Round(15), natural)
    first = run(net, images, audit=True, out=tmp_path, batch_size=64)
    for block in (tmp_path / "blocks").iterdir():
        assert block.exists()
    kept = tmp_path / "blocks" / "audit.json"
    assert Audit.load(tmp_path / "blocks") == first.audit
    kept.write_bytes(seal({**unseal(kept.read_bytes()), "seconds": 1e6}))
    again = run(net, images, audit=True, out=tmp_path)
    assert again.audit == Audit.load(tmp_path / "blocks")
    assert again.audit != first.audit  # read, not computed again
    assert (again.verdict, again.findings) == (first.verdict, first.findings)
    assert first.verdict == "unreliable"
    assert (again.forwards, again.backwards) == (first.forwards, first.backwards)
    assert run(net, images, out=tmp_path).audit is None


def test_an_audit_is_added_to_the_record_and_its_passes_are_its_own(natural: nn.Module, images: Any) -> None:
    alone, found = run(natural, images, sp.Linf(0.5)), run(natural, images, sp.Linf(0.5), audit=True)
    assert found.audit is not None
    assert (found.forwards, found.backwards) == (alone.forwards, alone.backwards)
    assert found.records()["audit"]["verdict"] == "reliable"
    assert alone.records()["audit"] is None


def test_an_audit_that_cannot_be_is_refused_before_the_evaluation_begins(natural: nn.Module, images: Any) -> None:
    def told(step: object) -> None:
        raise AssertionError("it began")

    with pytest.raises(sp.InputError, match="has no finite one"):
        run(natural, images, sp.L2(), [sp.CarliniWagner()], audit=True, progress=told)


def test_each_example_may_have_its_own_radius_in_the_audit_too(natural: nn.Module, images: Any) -> None:
    x, y = (torch.cat([one] * 4) for one in images)  # more than an audit takes
    found = run(natural, (x, y), sp.Linf(torch.full((256,), 0.5)), audit=True)
    assert found.audit is not None
    assert found.audit.examples == 200


def test_a_gradient_that_is_estimated_is_not_taken_for_a_noisy_backward_pass(natural: nn.Module, images: Any) -> None:
    found = run(sp.Model(Before(Round(15), natural), gradients=FiniteDifferences(8)), images)
    assert not any("noisy" in one for one in found.findings)
    assert found.verdict != "unreliable"

"""`sp.audit`: honest networks pass, masked ones do not, and whatever comes in gets an answer or one clear error."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from hiding import Before, Detached, Noise, NoisyHook, Reversed, Round, Times
from models import FORMS, Then, linear
from sparring.auditing import Audit, Finding
from sparring.auditing.battery import enough
from sparring.auditing.finding import worst

LINF = sp.Linf(0.1)
QUICK = sp.Linf(0.02)  # where most stand
ROOMY = sp.Linf(0.5)  # where all fall, and there is nothing more to ask


def flagged(audit: Audit) -> set[str]:
    return {finding.name for finding in audit.findings if finding.flagged}


def statistic(audit: Audit, name: str) -> float | None:
    return next(finding.statistic for finding in audit.findings if finding.name == name)


def same(one: Audit, other: Audit) -> bool:
    return replace(one, seconds=0) == replace(other, seconds=0)


@pytest.fixture(scope="module")
def plain(natural: nn.Module, images: Any) -> Audit:
    """An honest network where most stand, so that all of the battery is tried."""
    return sp.audit(natural, images, QUICK)


@pytest.fixture(scope="module")
def masked(natural: nn.Module, images: Any) -> Audit:
    return sp.audit(MASKED["rounded inputs"](natural), images, LINF)


# --- verdicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "hardened", "convolutional"])
def test_honest_networks_are_reliable(kind: str, images: Any, request: pytest.FixtureRequest) -> None:
    given = request.getfixturevalue(kind)
    found = (
        given if isinstance(given, Audit) else sp.audit(given, images, LINF if kind == "hardened" else sp.Linf(0.05))
    )
    assert found.verdict == "reliable", str(found)
    assert found.reasons == ()
    assert 0 < found.adaptive <= found.naive <= 1
    assert "B8 guilty layer" not in flagged(found)


def scores(net: nn.Module, factor: float) -> nn.Module:
    return nn.Sequential(net, Times(factor))


class Rounded(nn.Module):
    """Scores of two digits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return (self.net(x) * 10).round() / 10


MASKED = {
    "rounded inputs": lambda net: Before(Round(31), net),
    "rounded scores": Rounded,
    "detached": lambda net: Before(Detached(), net),
    "saturated": lambda net: scores(net, 1e4),
    "noisy hook": lambda net: Before(NoisyHook(), net),
    "reversed": lambda net: Before(Reversed(), net),
    "noise": lambda net: Before(Noise(0.2), net),
}


@pytest.mark.parametrize("kind", MASKED)
def test_masked_networks_are_unreliable(kind: str, natural: nn.Module, images: Any) -> None:
    found = sp.audit(MASKED[kind](natural), images, LINF)
    assert found.verdict == "unreliable", str(found)
    assert found.reasons
    if kind != "detached":
        assert found.naive - found.adaptive >= 0.09


def test_the_guilty_layer_and_the_attack_through_it_are_told(masked: Audit) -> None:
    (guilty,) = [finding for finding in masked.findings if finding.name == "B8 guilty layer"]
    assert guilty.attack == "sp.Model(net, bpda={'pre': 'identity'})"
    assert "bpda={'pre': 'identity'}" in masked.recommended


def test_a_view_that_already_sees_through_the_mask_is_audited_as_it_is(natural: nn.Module, images: Any) -> None:
    """Its gradient is honest, though it is not the network's: reliable, and plain PGD finds what it finds unmasked."""
    net = Before(Round(31), natural)
    found = sp.audit(sp.Model(net, bpda={"pre": "identity"}), images, sp.Linf(0.08))
    x, y = images
    stands = (~sp.PGD(steps=20)(natural, x, y, sp.Linf(0.08)).success).double().mean()
    assert found.naive == pytest.approx(float(stands), abs=0.1)
    assert found.verdict == "reliable", str(found)


def test_a_surrogate_is_tried(natural: nn.Module, images: Any) -> None:
    found = sp.audit(lambda x: natural(x.detach()), images, LINF, surrogate=natural)
    assert (statistic(found, "B2 transfer") or 0) > 0.09
    assert "Transfer" in found.recommended


# --- odd models -----------------------------------------------------------------------------------------------------


class Constant(nn.Module):
    def __init__(self, graph: bool) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.arange(3.0).expand(len(x), 3)
        return logits + 0 * x.flatten(1).sum(1, keepdim=True) if self.graph else logits


@pytest.mark.parametrize(("graph", "verdict"), [(True, "suspect"), (False, "unreliable")])
def test_a_model_that_ignores_its_input_is_never_reliable(graph: bool, verdict: str) -> None:
    x = torch.rand(60, 8)
    found = sp.audit(Constant(graph), (x, torch.full((60,), 2)), LINF)
    assert found.verdict == verdict
    assert found.naive == found.adaptive == 1


class Odd(nn.Module):
    """As `net`, but something is not finite more than `far` away from the examples."""

    def __init__(self, net: nn.Module, x: Tensor, far: float, what: str) -> None:
        super().__init__()
        self.net, self.x, self.far, self.what = net, x.flatten(1), far, what

    def forward(self, x: Tensor) -> Tensor:
        away = torch.cdist(x.detach().flatten(1), self.x, p=float("inf")).amin(1) > self.far
        logits = self.net(x)
        if self.what == "logits":
            return torch.where(away[:, None], torch.nan, logits)
        root = (x - x.detach()).flatten(1).sum(1, keepdim=True).abs().sqrt()
        return logits + root if bool(away.any()) else logits


@pytest.mark.parametrize("far", [-1.0, 0.05])
def test_logits_that_are_not_finite_are_an_error_wherever_they_are(far: float, natural: nn.Module, images: Any) -> None:
    with pytest.raises(sp.ModelError, match=r"the logits of example \d+ is nan"):
        sp.audit(Odd(natural, images[0], far, "logits"), images, LINF)


@pytest.mark.parametrize("far", [-1.0, 0.05])
def test_gradients_that_are_not_finite_are_a_finding_wherever_they_are(
    far: float, natural: nn.Module, images: Any
) -> None:
    found = sp.audit(Odd(natural, images[0], far, "gradient"), images, LINF)
    assert found.verdict == "unreliable"
    assert found.naive == 1
    (graph,) = [finding for finding in found.findings if finding.name == "G1 graph" and finding.flagged]
    assert "input gradient of example" in graph.meaning


def test_where_nothing_stands_nothing_is_overstated(natural: nn.Module, images: Any) -> None:
    found = sp.audit(natural, images, sp.Linf(0.9))
    assert found.verdict == "reliable"
    assert found.naive == found.adaptive == 0
    assert not found.recommended


@pytest.mark.parametrize("shape", ["two logits", "one logit", "one score"])
def test_two_classes_in_any_form(shape: str) -> None:
    net = nn.Sequential(linear(16, 2 if shape == "two logits" else 1), *[nn.Flatten(0)] * (shape == "one score"))
    x = torch.rand(60, 16, generator=torch.Generator().manual_seed(0))
    y = sp.Model(net)(x).argmax(1)
    found = sp.audit(net, (x, y), QUICK)
    assert found.verdict == "reliable"
    assert found.naive == found.adaptive > 0.2


@pytest.mark.parametrize("form", FORMS)
def test_logits_in_any_form(form: str, natural: nn.Module, images: Any) -> None:
    found = sp.audit(Then(natural, FORMS[form]), images, ROOMY)
    assert found.verdict == "reliable"


VARIANTS = {
    "probabilities": lambda net: nn.Sequential(net, nn.Softmax(1)),
    "double": lambda net: copy.deepcopy(net).double(),
    "scripted": torch.jit.script,
}


@pytest.mark.parametrize("kind", VARIANTS)
def test_the_same_network_in_another_dress(kind: str, natural: nn.Module, images: Any, plain: Audit) -> None:
    found = sp.audit(VARIANTS[kind](natural), images, QUICK)
    assert found.verdict == "reliable"
    assert not flagged(found)
    assert (found.naive, found.adaptive) == (plain.naive, plain.adaptive)


def test_half_precision_is_honest(natural: nn.Module, images: Any) -> None:
    assert sp.audit(copy.deepcopy(natural).bfloat16(), images, LINF).verdict == "reliable"


def test_a_compiled_network_is_audited_as_the_one_that_was_compiled(
    natural: nn.Module, images: Any, masked: Audit
) -> None:
    net = torch.compile(Before(Round(31), natural), backend="eager")
    assert same(sp.audit(net, images, LINF), masked)


def test_few_correct_examples_are_suspect_and_none_at_all_too(natural: nn.Module, images: Any) -> None:
    x, y = images
    few = sp.audit(natural, (x[:20], y[:20]), ROOMY)
    assert few.verdict == "suspect"
    assert f"only {few.correct} examples" in few.reasons[0]
    none = sp.audit(natural, (x[:20], (natural(x[:20]).argmax(1) + 1) % 10), QUICK)
    assert none.verdict == "suspect"
    assert (none.examples, none.correct, none.naive, none.adaptive) == (20, 0, 0, 0)
    assert none.naive_interval[0] == 0
    assert none.naive_interval[1] > 0.97
    assert none.findings == ()


# --- threats and inputs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threat", [sp.L2(0.2), sp.L1(0.5), sp.L0(1)], ids=["l2", "l1", "l0"])
def test_every_threat(threat: Any, natural: nn.Module, images: Any) -> None:
    found = sp.audit(natural, images, threat)
    assert found.verdict != "unreliable", str(found)
    assert found.adaptive > 0.2


def test_a_radius_for_each_example_and_a_mask(natural: nn.Module, images: Any) -> None:
    radius = torch.full((64,), 0.9)
    radius[::2] = 0.0
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., :6] = True
    found = sp.audit(natural, images, sp.Linf(radius, mask=mask))
    assert "B3 extremes" not in {finding.name for finding in found.findings}
    assert found.adaptive == pytest.approx(0.5, abs=0.03)


def test_flat_inputs_in_another_range_are_the_same_question(natural: nn.Module, images: Any, plain: Audit) -> None:
    """x in [-2, 3] and five times the radius."""
    x, y = images

    class Squeezed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return natural((x + 2) / 5)

    model = sp.Model(Squeezed(), bounds=(-2.0, 3.0))
    wide = sp.audit(model, ((x.flatten(1) * 5 - 2).clamp(-2, 3), y), sp.Linf(0.1))
    assert wide.verdict == plain.verdict == "reliable"
    assert wide.naive == pytest.approx(plain.naive, abs=0.02)


@pytest.mark.parametrize("kind", ["plain", "rounded inputs"])
def test_the_batch_size_changes_nothing(kind: str, natural: nn.Module, images: Any) -> None:
    net = natural if kind == "plain" else MASKED[kind](natural)
    few = images[0][:20], images[1][:20]
    whole, parts = (sp.audit(net, few, LINF, batch_size=size) for size in (None, 12))
    assert parts.verdict == whole.verdict
    assert (parts.naive, parts.adaptive) == (whole.naive, whole.adaptive)
    assert (parts.forwards, parts.backwards) == (whole.forwards, whole.backwards)
    for one, other in zip(whole.findings, parts.findings, strict=True):
        assert (one.name, one.flagged) == (other.name, other.flagged)
        assert one.statistic == (None if other.statistic is None else pytest.approx(other.statistic, abs=1e-4))


def test_the_same_seed_is_the_same_audit(natural: nn.Module, images: Any) -> None:
    one, other = (sp.audit(MASKED["noisy hook"](natural), images, LINF) for _ in range(2))
    assert same(one, other)


def test_every_pass_is_counted(natural: nn.Module, images: Any) -> None:
    passes = {"forwards": 0, "backwards": 0}

    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = natural

        def forward(self, x: Tensor) -> Tensor:
            passes["forwards"] += len(x)
            if x.requires_grad:
                x.register_hook(lambda gradient: passes.update(backwards=passes["backwards"] + len(gradient)))
            return self.net(x)

    found = sp.audit(Counted(), images, QUICK)
    assert found.backwards == passes["backwards"]
    assert found.forwards == passes["forwards"]


def test_the_callers_network_and_generators_are_left_as_they_were(natural: nn.Module, images: Any) -> None:
    net = Before(Round(31), copy.deepcopy(natural)).train()
    net.net[1].eval()
    next(net.parameters()).requires_grad_(False)

    def state() -> list[Any]:
        flags = [module.training for module in net.modules()]
        wants = [p.requires_grad for p in net.parameters()]
        grads = [p.grad for p in net.parameters()]
        kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        hooks = [len(getattr(module, kind)) for module in net.modules() for kind in kinds]
        weights = [p.clone().tolist() for p in net.parameters()]
        generators = [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]  # noqa: NPY002
        return [flags, wants, grads, hooks, weights, generators]

    before = state()
    x, y = (one.clone() for one in images)
    assert sp.audit(net, (x, y), LINF).verdict == "unreliable"
    assert state() == before
    assert torch.equal(x, images[0])
    with torch.no_grad():
        assert sp.audit(natural, (x, y), ROOMY).naive == 0


def test_the_checks_are_told_as_they_begin_and_the_examples_are_the_first(natural: nn.Module, images: Any) -> None:
    told: list[str] = []
    found = sp.audit(natural, images, QUICK, examples=55, progress=told.append)
    assert found.examples == 55
    assert told[0] == "single gradients"
    assert "plain PGD" in told
    assert len(told) == len(set(told))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"threat": sp.Linf()}, "has no finite one"),
        ({"threat": 0.1}, r"threat is 0\.1"),
        ({"examples": 0}, "examples is 0; give at least 1"),
        ({"batch_size": 0}, "batch_size"),
        ({"seed": -1}, "seed is -1"),
        ({"data": (torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64))}, "is empty"),
        ({"data": (torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 10]))}, "10 for example 3"),
        ({"data": (torch.rand(4, 1, 8, 8) + 1, torch.zeros(4, dtype=torch.int64))}, "outside the bounds"),
        ({"data": "digitz"}, "digits"),
        ({"bounds": (float("-inf"), float("inf"))}, "finite range"),
        ({"surrogate": lambda x: x}, "surrogate"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_wrong_use_is_one_clear_error(keywords: dict[str, Any], message: str, natural: nn.Module, images: Any) -> None:
    given = {"data": images, "threat": QUICK, **keywords}
    model = sp.Model(natural, bounds=given.pop("bounds", (0.0, 1.0)))
    with pytest.raises(sp.InputError, match=message):
        sp.audit(model, given.pop("data"), given.pop("threat"), **given)


# --- its parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("broken", "of", "told"), [(6, 6, False), (7, 100, True), (7, 350, False), (8, 399, True)])
def test_a_trial_is_flagged_beyond_chance_and_two_points(broken: int, of: int, told: bool) -> None:
    assert enough(broken, of) is told


def test_each_trial_is_given_what_those_before_it_left_and_none_breaks_more_than_that(
    plain: Audit,
) -> None:
    found = plain
    names = [
        finding.name for finding in found.findings if "broke" in finding.meaning and finding.name != "C certificate"
    ]
    shares = [statistic(found, name) or 0 for name in names]
    assert found.naive - sum(shares) == pytest.approx(found.adaptive)
    assert len(names) == len(set(names))


def test_a_random_model_that_nothing_breaks_is_audited_to_the_end(natural: nn.Module, images: Any) -> None:
    x, _ = images
    net = Before(Noise(1e-2), linear(64, 10))
    y = net(x).argmax(1)
    found = sp.audit(net, (x, y), sp.Linf(1e-5))
    assert found.naive > 0.9
    assert found.verdict != "unreliable"


# --- records --------------------------------------------------------------------------------------------------------


def test_an_audit_is_kept_and_read_back_equal(plain: Audit, masked: Audit, tmp_path: Path) -> None:
    for found in (plain, masked):
        found.save(tmp_path)
        assert Audit.load(tmp_path) == found
        assert json.loads((tmp_path / "audit.json").read_text())["verdict"] == found.verdict
    assert Audit.load(tmp_path / "elsewhere") is None
    (tmp_path / "audit.json").write_text("{")
    with pytest.raises(sp.ResumeError, match=r"audit.json cannot be read [\s\S]* remove this file"):
        Audit.load(tmp_path)


def test_what_is_printed_names_every_finding_and_ends_with_the_verdict(plain: Audit) -> None:
    found = plain
    lines = str(found).splitlines()
    assert len(lines) == len(found.findings) + 1
    for line, finding in zip(lines, found.findings, strict=False):
        assert finding.name in line
    assert lines[-1].startswith("reliable: naive")
    assert {field.name for field in fields(Finding)} >= {"name", "statistic", "threshold", "flagged", "meaning"}


def test_the_worst_verdict_is_the_least_favourable() -> None:
    assert worst([]) == "reliable"
    assert worst(["reliable", "suspect"]) == "suspect"
    assert worst(["suspect", "unreliable", "reliable"]) == "unreliable"


def test_radii_and_masks_of_more_examples_than_are_audited(natural: nn.Module, images: Any) -> None:
    radius = torch.full((64,), 0.9)
    radius[3] = 0.0
    mask = torch.ones(64, 1, 8, 8, dtype=torch.bool)
    found = sp.audit(natural, images, sp.Linf(radius, mask=mask), examples=52)
    assert found.examples == 52
    assert found.adaptive == pytest.approx(1 / found.correct)

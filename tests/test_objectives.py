"""Objectives: the published formulas in NumPy, for two classes and up; larger is worse for the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from reference import Array, double
from sparring.errors import InputError
from sparring.objectives import OBJECTIVES, cross_entropy, dlr, get, kl, margin, margins, probability_margin
from sparring.problem import Goal

CLASSES = pytest.mark.parametrize("classes", [2, 3, 4, 5, 6])
WAYS = pytest.mark.parametrize("way", ["untargeted", "targeted", "aimed"])
EVERY = pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "kl"])  # kl knows no class
ASKED = pytest.mark.parametrize(
    ("name", "way"),
    [(n, w) for n in OBJECTIVES for w in ("untargeted", "targeted", "aimed") if n != "kl" or w == "untargeted"],
)


def question(classes: int, way: str, rows: int = 40) -> tuple[torch.Tensor, Goal]:
    """Random logits, labels of every rank, and for "aimed" a wrong class to climb towards."""
    generator = torch.Generator().manual_seed(classes)
    logits = 3 * torch.randn(rows, classes, generator=generator)
    label = torch.arange(rows) % classes
    wrong = (label + 1 + torch.arange(rows) % (classes - 1)) % classes
    reference = torch.randn(rows, classes, generator=generator)
    aim = wrong if way == "aimed" else None
    return logits, Goal(label, targeted=way == "targeted", aim=aim, reference=reference)


def contest(row: Array, goal: Goal, at: int) -> tuple[float, float]:
    """Of one row: the value that must win, and the one that must lose."""
    label = int(goal.label[at])
    rest = float(np.delete(row, label).max())
    if goal.targeted:
        return float(row[label]), rest
    return (rest if goal.aim is None else float(row[int(goal.aim[at])])), float(row[label])


def softmax(logits: Array) -> Array:
    power = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(power / power.sum(1, keepdims=True))


@CLASSES
@WAYS
def test_cross_entropy_is_minus_log_p_of_the_label_or_log_p_of_the_wanted_class(classes: int, way: str) -> None:
    logits, goal = question(classes, way)
    named = goal.label if goal.aim is None else goal.aim
    log = np.log(softmax(double(logits)))[np.arange(len(logits)), named.numpy()]
    truth = -log if way == "untargeted" else log
    np.testing.assert_allclose(double(cross_entropy(logits, goal)), truth, rtol=1e-4, atol=1e-6)


@CLASSES
@WAYS
def test_margin_is_winner_minus_loser_of_logits_or_of_probabilities(classes: int, way: str) -> None:
    logits, goal = question(classes, way)
    for values, score in [(double(logits), margin), (softmax(double(logits)), probability_margin)]:
        truth = [np.subtract(*contest(row, goal, at)) for at, row in enumerate(values)]
        np.testing.assert_allclose(double(score(logits, goal)), truth, atol=2e-6)


@CLASSES
@WAYS
def test_margins_are_those_of_every_wrong_class_or_of_the_one_that_counts(classes: int, way: str) -> None:
    logits, goal = question(classes, way)
    found = double(margins(logits, goal))
    for at, row in enumerate(double(logits)):
        label = int(goal.label[at])
        truth = np.delete(row, label) - row[label] if way == "untargeted" else [np.subtract(*contest(row, goal, at))]
        np.testing.assert_allclose(found[at], truth, atol=2e-6)


@CLASSES
@WAYS
def test_dlr_is_the_margin_over_the_gaps_of_the_ranking(classes: int, way: str) -> None:
    logits, goal = question(classes, way)
    truth = []
    for at, row in enumerate(double(logits)):
        ranked = np.sort(row)[::-1]
        fourth = min(3, classes - 1)
        low = ranked[min(2, classes - 1)] if way == "untargeted" else (ranked[min(2, classes - 1)] + ranked[fourth]) / 2
        scale = 1.0 if classes == 2 else ranked[0] - low
        truth.append(np.subtract(*contest(row, goal, at)) / scale)
    np.testing.assert_allclose(double(dlr(logits, goal)), truth, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("classes", [3, 4, 5, 6])
@WAYS
def test_dlr_knows_neither_shift_nor_scale(classes: int, way: str) -> None:
    logits, goal = question(classes, way)
    moved = 7.5 * logits.double() + 11
    torch.testing.assert_close(dlr(moved, goal), dlr(logits.double(), goal))


@CLASSES
@WAYS
def test_a_margin_above_zero_means_the_goal_is_reached(classes: int, way: str) -> None:
    logits, goal = question(classes, way)
    for score in (margin, probability_margin, dlr):
        reached = goal.reached(logits)
        above = score(logits, goal) > 0
        # An aimed goal is reached by any wrong class, the aimed one or another.
        assert bool((reached | ~above).all() if way == "aimed" else torch.equal(reached, above))


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"dlr", "kl"}))  # dlr's divisor moves too, kl asks no class
@CLASSES
@WAYS
def test_raising_the_wanted_logit_or_lowering_the_label_is_worse_for_the_model(
    name: str, classes: int, way: str
) -> None:
    logits, goal = question(classes, way)
    toward = goal.label if way == "targeted" else goal.aim
    worse = logits.clone()
    if toward is None:
        worse[torch.arange(len(logits)), goal.label] -= 0.05
    else:
        worse[torch.arange(len(logits)), toward] += 0.05
    scores = OBJECTIVES[name](worse, goal) - OBJECTIVES[name](logits, goal)
    assert bool((scores >= 0).all())
    assert float((scores > 1e-6).float().mean()) > 0.9  # softmax may be saturated


@ASKED
@CLASSES
def test_gradients_are_finite_even_where_logits_tie(name: str, classes: int, way: str) -> None:
    _, goal = question(classes, way)
    tied = torch.zeros(40, classes)
    tied[10:20, 0] = 1
    tied[20:30, :-1] = 5
    tied[30:40] = 1e4
    tied.requires_grad_(True)
    score = OBJECTIVES[name](tied, goal)
    (gradient,) = torch.autograd.grad(score.sum(), tied)
    assert score.shape == (40,)
    assert bool(score.isfinite().all())
    assert bool(gradient.isfinite().all())


@ASKED
def test_an_objective_is_one_number_a_row_and_rows_do_not_mix(name: str, way: str) -> None:
    logits, goal = question(5, way)
    whole = OBJECTIVES[name](logits, goal)
    alone = [OBJECTIVES[name](logits[row], goal.take(row)) for row in torch.arange(len(logits)).split(1)]
    torch.testing.assert_close(whole, torch.cat(alone))


@CLASSES
def test_kl_is_the_divergence_from_the_reference(classes: int) -> None:
    logits, goal = question(classes, "untargeted")
    assert goal.reference is not None
    p, q = softmax(double(goal.reference)), softmax(double(logits))
    np.testing.assert_allclose(double(kl(logits, goal)), (p * np.log(p / q)).sum(1), rtol=1e-4, atol=1e-6)
    assert float(kl(goal.reference, goal).abs().max()) < 1e-6


def test_kl_needs_a_reference_and_knows_no_class() -> None:
    logits, goal = question(5, "untargeted")
    with pytest.raises(InputError, match="reference logits"):
        kl(logits, replace(goal, reference=None))
    for way in ("targeted", "aimed"):
        with pytest.raises(InputError, match="not towards a class"):
            kl(*question(5, way))


@pytest.mark.parametrize("classes", [2, 5])
def test_confidence_asks_for_a_lead(classes: int) -> None:
    logits, goal = question(classes, "untargeted")
    sure = Goal(goal.label, confidence=2.0)
    assert torch.equal(sure.reached(logits), margin(logits, goal) >= 2)


def test_objectives_go_by_name_and_an_unknown_name_lists_the_known() -> None:
    assert get("dlr") is dlr
    assert get(margin) is margin
    with pytest.raises(InputError, match=r"'hinge' is unknown.*cross_entropy.*dlr"):
        get("hinge")

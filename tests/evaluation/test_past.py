"""What a plan knows of each row: how far apart rounds that do alike end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import sparring as sp
from sparring.draws import Draws
from sparring.evaluation import Rung
from sparring.evaluation.past import Past
from sparring.problem import Goal, Problem

X = torch.full((2, 3), 0.5)
INDEX = torch.arange(2)
GOAL = Goal(torch.zeros(2, dtype=torch.int64))
PROBLEM = Problem(
    index=INDEX, slot=INDEX, x=X, goal=GOAL, region=sp.Linf(0.1).around(X, (0.0, 1.0)), draws=Draws(0), seek="any"
)
RUNGS = [Rung("first", sp.PGD()), *(Rung(name, sp.PGD(), again=True) for name in ("second", "third", "fourth"))]


def logits(*leads: float) -> Tensor:
    """By how much the label leads, row by row."""
    return torch.tensor([[lead, 0.0] for lead in leads])


def looked(past: Past, rung: Rung, *leads: float) -> Past:
    """After a rung whose closest looks were these."""
    oracle: Any = SimpleNamespace(
        nearness=past.first.seeing(INDEX, X + 0.01, logits(*leads), GOAL, torch.ones(2, dtype=torch.bool)),
        backwards=torch.ones(2, dtype=torch.int64),
        zero_gradients=torch.zeros(2, dtype=torch.int64),
        judge=SimpleNamespace(eot=1),
    )
    return past.after(rung, RUNGS, oracle, own=True, absent=False)


def test_the_spread_is_the_most_that_two_rounds_which_do_alike_differed_by() -> None:
    past = Past.none(PROBLEM, logits(10.0, 10.0), RUNGS)
    past = looked(past, RUNGS[0], 4.0, 4.0)
    assert past.spread.isinf().all()  # one round says nothing
    # In units of how far the margin has risen from its 10 at the start.
    past = looked(past, RUNGS[1], 2.0, 4.0)
    assert past.spread.tolist() == [0.25, 0.0]
    past = looked(past, RUNGS[2], 2.0, 1.0)
    assert past.spread.tolist() == [0.25, pytest.approx(1 / 3)]  # the most, and not the last

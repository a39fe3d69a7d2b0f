"""Climb towards one wrong class after another; any wrong class still counts (APGD-T: Croce & Hein 2020).

Which classes come first is a question of its own: those the logits rank highest, or those that seem within reach (MALT,
Melamed et al. 2024, orders by the logit gap over the norm of its gradient; here the ball and the range have their say).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from sparring.oracle import Oracle
from sparring.problem import Goal, Outcome, Problem
from sparring.rows import column
from sparring.searches.restarts import Attempt, first_success

Order = Literal["logits", "reach"]
CANDIDATES = 30  # classes whose slope is asked for; each costs a backward pass
FAR = 1000.0  # times the ball's reach


def targets(attempt: Attempt, count: int, after: int = 0, order: Order = "logits") -> Attempt:
    """`attempt` towards each of `count` wrong classes, skipping the first `after`.

    order: "logits" takes the classes as the clean logits rank them, "reach" by the margin that a step across the ball
    along each class's own gradient promises, which on a linear network is what it keeps. A row whose adversary already
    wants one class is attempted once, towards that class.
    """
    if count == 0:
        return attempt

    def towards(place: int) -> Attempt:
        def aimed(problem: Problem, oracle: Oracle) -> Outcome:
            aim = _wrong(problem, oracle).argsort(dim=1, descending=True, stable=True)[:, place]
            aimed_at = replace(problem.goal, aim=aim)
            return attempt(replace(problem, goal=aimed_at, draws=problem.draws.at("target", place)), oracle)

        return aimed

    def search(problem: Problem, oracle: Oracle) -> Outcome:
        if problem.goal.targeted:
            return attempt(problem, oracle)
        classes = oracle.classes or count + 1
        if order == "reach" and classes > 2 and oracle.model.gradients is None:  # estimates would cost too much
            problem = replace(problem, clean=reach(problem, oracle))
        return first_success(map(towards, range(after, min(after + count, classes - 1))), problem, oracle)

    return search


def _wrong(problem: Problem, oracle: Oracle) -> Tensor:
    logits = problem.clean if problem.clean is not None else oracle.logits(problem, problem.x)
    return logits.scatter(1, problem.goal.label[:, None], -torch.inf)


def reach(problem: Problem, oracle: Oracle) -> Tensor:
    """(N, K) the margin towards each class that its gradient at x promises for the far side of the ball.

    Asked of the `CANDIDATES` wrong classes that the clean logits rank highest; -inf elsewhere. Costs one forward, and a
    backward for each class asked.
    """
    wrong = _wrong(problem, oracle)
    asked = wrong.topk(min(CANDIDATES, wrong.shape[1] - 1), dim=1).indices

    def towards(logits: Tensor, goal: Goal) -> Tensor:
        return logits.gather(1, asked) - logits.gather(1, goal.label[:, None])

    seen = oracle.gradient(problem, problem.x, towards)
    promised = torch.stack([_promised(problem, gradient) for gradient in seen.gradient.unbind(1)], dim=1)
    return torch.full_like(wrong, -torch.inf).scatter(1, asked, seen.score + promised)


def _promised(problem: Problem, gradient: Tensor) -> Tensor:
    """(N,) how far a linear score with that gradient rises inside the region."""
    region = problem.region
    largest = gradient.flatten(1).abs().amax(1)
    far = column(FAR * region.reach / largest.where(largest > 0, 1), gradient)
    ahead = region.project(region.centre + far * gradient)  # the nearest point to one far out is where it is largest
    return (gradient * (ahead - problem.x)).flatten(1).sum(1)

"""Climb towards one wrong class after another; any wrong class still counts (APGD-T: Croce & Hein 2020)."""

from __future__ import annotations

from dataclasses import replace

import torch

from sparring.oracle import Oracle
from sparring.problem import Outcome, Problem
from sparring.searches.restarts import Attempt, first_success


def targets(attempt: Attempt, count: int, after: int = 0) -> Attempt:
    """`attempt` towards each of the `count` classes the clean logits rank highest after the label and `after` more.

    A row whose adversary already wants one class is attempted once, towards that class.
    """
    if count == 0:
        return attempt

    def towards(place: int) -> Attempt:
        def aimed(problem: Problem, oracle: Oracle) -> Outcome:
            logits = problem.clean if problem.clean is not None else oracle.logits(problem, problem.x)
            wrong = logits.scatter(1, problem.goal.label[:, None], -torch.inf)
            aim = wrong.argsort(dim=1, descending=True, stable=True)[:, place]
            aimed_at = replace(problem.goal, aim=aim)
            return attempt(replace(problem, goal=aimed_at, draws=problem.draws.at("target", place)), oracle)

        return aimed

    def search(problem: Problem, oracle: Oracle) -> Outcome:
        if problem.goal.targeted:
            return attempt(problem, oracle)
        classes = oracle.classes or count + 1
        return first_success(map(towards, range(after, min(after + count, classes - 1))), problem, oracle)

    return search

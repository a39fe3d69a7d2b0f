"""The attack as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sparring.attacks.attack import Attack, fitting
from sparring.attacks.hop_skip_jump.hopping import Hopping
from sparring.oracle import Oracle
from sparring.problem import Outcome, Problem
from sparring.searches import restarts, settled
from sparring.solve import solve
from sparring.values import Count, Positive


@dataclass(frozen=True)
class HopSkipJump(Attack):
    """The nearest adversarial example, from decisions alone; given a radius, the first one inside it.

    steps: rounds. initial_evaluations: decisions for the first estimate of the boundary's normal; the t-th takes
    sqrt(t) times as many, at most max_evaluations. tries: random points among which to find one to start from;
    an example without any fails. gamma: the bisection stops at gamma / d^(3/2) of the distance, for d features,
    but no finer than 1e-4, which single precision still tells, nor coarser than 0.01. restarts: independent starts,
    of which the nearest end is kept; more than one helps where several wrong classes border on the example.
    """

    steps: Count = 25
    initial_evaluations: Count = 100
    max_evaluations: Count = 1000
    tries: Count = 100
    gamma: Positive = 1.0
    restarts: Count = 1

    norms: ClassVar[frozenset[str]] = frozenset({"l2", "linf"})
    minimal: ClassVar[bool] = True
    gradients: ClassVar[bool] = False

    def run(self, problem: Problem, oracle: Oracle) -> Outcome:
        theta = min(max(self.gamma * problem.x[0].numel() ** -1.5, 1e-4), 1e-2)
        at_once = self.batch_size or fitting(problem.x)
        hopping = Hopping(self.steps, self.initial_evaluations, self.max_evaluations, self.tries, theta, at_once)

        def attempt(rows: Problem, seeing: Oracle) -> Outcome:
            return solve(hopping, rows, seeing)

        found = restarts(attempt, self.restarts)(problem, oracle)
        return settled(problem, oracle, found.where(found.success, Outcome.none(problem)))

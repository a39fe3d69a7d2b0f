"""Auto-PGD (Croce & Hein 2020, algorithm 1), with cross-entropy, DLR or targeted DLR; L1 after Croce & Hein 2021."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from sparring.attacks.ascent import Ascent
from sparring.attacks.attack import Attack
from sparring.objectives import get
from sparring.oracle import Oracle
from sparring.problem import Objective, Outcome, Problem
from sparring.rules import Adaptive, AdaptiveSparse
from sparring.searches import restarts, targets
from sparring.solve import solve
from sparring.threats.l1 import L1Ball
from sparring.values import Count, Natural, Share


@dataclass(frozen=True)
class APGD(Attack):
    """Projected gradient ascent that finds its own step size.

    steps: gradients a start. objective, restarts, n_targets: as for PGD; `APGD(objective="dlr", n_targets=9)`
    is AutoAttack's APGD-T. rho: the share of steps that must raise the objective for the step size to stay.
    """

    steps: Count = 100
    objective: str | Objective = "cross_entropy"
    restarts: Count = 1
    rho: Share = 0.75
    n_targets: Natural = 0

    norms: ClassVar[frozenset[str]] = frozenset({"linf", "l2", "l1"})

    def run(self, problem: Problem, oracle: Oracle) -> Outcome:
        attempt = self._from_outside if isinstance(problem.region, L1Ball) else self._ascent(self.steps)
        return targets(restarts(attempt, self.restarts), self.n_targets)(problem, oracle)

    def _ascent(self, steps: int, sparse: bool = False) -> Ascent:
        rule = AdaptiveSparse(steps) if sparse else Adaptive(steps, self.rho)
        return Ascent(steps, get(self.objective), rule)

    def _from_outside(self, problem: Problem, oracle: Oracle) -> Outcome:
        """L1: 30 % of the steps in the ball of 3 eps, 30 % in 2 eps, the rest in eps (2021, section 3.3)."""
        region, x = problem.region, None
        for times in (3, 2):
            ascent = self._ascent(int(0.3 * self.steps), sparse=True)
            wide = replace(problem, region=region.resized(times * region.radius), seek="strongest")
            state = ascent.start(wide) if x is None else ascent.start_at(wide, wide.region.project(x))
            x = solve(ascent, wide, oracle, state).x
        ascent = self._ascent(self.steps - 2 * int(0.3 * self.steps), sparse=True)
        start = ascent.start(problem) if x is None else ascent.start_at(problem, region.project(x))
        return solve(ascent, problem, oracle, start)

"""PGD (Madry et al. 2018, section 2.1): many small steepest steps from a random start, projected."""

from __future__ import annotations

from dataclasses import dataclass

from sparring.attacks.ascent import Ascent
from sparring.attacks.attack import Attack
from sparring.objectives import get
from sparring.oracle import Oracle
from sparring.problem import Objective, Outcome, Problem
from sparring.rules import Steepest
from sparring.searches import restarts, targets
from sparring.values import Count, Natural, Positive


@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient ascent.

    steps: gradients a start. step_size: in the threat's units; None is 4 · eps / steps (for L0, the same share
    of a step that crosses the input range). objective: a name or a function (N, K), goal -> (N,).
    restarts: independent random starts, each on the rows still standing. random_start: False starts at x.
    n_targets: climb towards that many runner-up classes in turn; 0 climbs away from the label.
    """

    steps: Count = 40
    step_size: Positive | None = None
    objective: str | Objective = "cross_entropy"
    restarts: Count = 1
    random_start: bool = True
    n_targets: Natural = 0

    def run(self, problem: Problem, oracle: Oracle) -> Outcome:
        rule = Steepest(self.step_size, share=4 / self.steps)
        ascent = Ascent(self.steps, get(self.objective), rule, self.random_start)
        return targets(restarts(ascent, self.restarts), self.n_targets)(problem, oracle)

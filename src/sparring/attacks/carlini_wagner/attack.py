"""The attack as a value; its form comes from the threat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from sparring.attacks.attack import Attack
from sparring.attacks.carlini_wagner.l0 import Freezing
from sparring.attacks.carlini_wagner.l2 import Bisection
from sparring.attacks.carlini_wagner.linf import Ceiling
from sparring.oracle import Oracle
from sparring.problem import Outcome, Problem
from sparring.rules import Adam
from sparring.searches import targets
from sparring.solve import solve
from sparring.threats.l0 import L0Ball
from sparring.threats.linf import LinfBall
from sparring.values import Amount, Count, Natural, Positive


@dataclass(frozen=True)
class CarliniWagner(Attack):
    """The nearest adversarial example; given a radius, the first one inside it.

    searches: L2 only, how often the trade-off c of each row is bisected (10 and more end on its upper bound).
    steps: gradients for each value of c. learning_rate: Adam's, in tanh space; None is 0.01, for L∞ 0.005.
    initial_c: in units of the input range; None is 1e-3, for L∞ 1e-5. L0 and L∞ double it up to 2e6 and 20.
    confidence: the kappa by which the winning logit must lead. abort_early: leave a value of c once a tenth of
    its steps brings nothing. tau: L∞ only, "decay" lowers the ceiling by a tenth at a time as published,
    "bisect" halves the gap between the ceilings that worked and failed, to within 2 %. n_targets: go for that many
    runner-up classes in turn and keep the nearest; 0 goes for whichever class leads.
    """

    searches: Count = 9
    steps: Count = 1000
    learning_rate: Positive | None = None
    initial_c: Positive | None = None
    confidence: Amount = 0.0
    abort_early: bool = True
    tau: Literal["decay", "bisect"] = "decay"
    n_targets: Natural = 0

    norms: ClassVar[frozenset[str]] = frozenset({"l2", "l0", "linf"})
    minimal: ClassVar[bool] = True

    def run(self, problem: Problem, oracle: Oracle) -> Outcome:
        wanted = replace(problem, goal=replace(problem.goal, confidence=self.confidence))
        found = targets(self._form, self.n_targets)(wanted, oracle)
        # A failed search may have ended anywhere; the clean example is a point the model gets right.
        return found.where(found.success, Outcome.none(problem))

    def _form(self, problem: Problem, oracle: Oracle) -> Outcome:
        if isinstance(problem.region, L0Ball):
            return solve(Freezing(self.steps, self._adam(0.01), self._c(1e-3), self.abort_early), problem, oracle)
        if isinstance(problem.region, LinfBall):
            bisect = self.tau == "bisect"
            ceiling = Ceiling(self.steps, self._adam(0.005), self._c(1e-5), self.abort_early, bisect)
            return solve(ceiling, problem, oracle)
        bisection = Bisection(self.searches, self.steps, self._adam(0.01), self._c(1e-3), self.abort_early)
        return solve(bisection, problem, oracle)

    def _adam(self, published: float) -> Adam:
        return Adam(published if self.learning_rate is None else self.learning_rate)

    def _c(self, published: float) -> float:
        return published if self.initial_c is None else self.initial_c

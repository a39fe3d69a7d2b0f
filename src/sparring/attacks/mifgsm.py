"""MI-FGSM (Dong et al., "Boosting adversarial attacks with momentum", 2018, algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass

from sparring.attacks.ascent import Ascent
from sparring.attacks.attack import Attack
from sparring.objectives import get
from sparring.oracle import Oracle
from sparring.problem import Objective, Outcome, Problem
from sparring.rules import Momentum
from sparring.values import Amount, Count, Positive


@dataclass(frozen=True)
class MIFGSM(Attack):
    """`steps` steps of eps / steps along a decayed sum of L1-normalised gradients, from the clean example."""

    steps: Count = 10
    step_size: Positive | None = None
    decay: Amount = 1.0
    objective: str | Objective = "cross_entropy"

    def run(self, problem: Problem, oracle: Oracle) -> Outcome:
        rule = Momentum(self.decay, self.step_size, share=1 / self.steps)
        return Ascent(self.steps, get(self.objective), rule, random_start=False)(problem, oracle)

"""PGD with a start that scatters the outputs, cosine steps and momentum: the round of which cheap evaluations are made.

The start is output-diversified (Tashiro et al. 2020, section 3): a few full steps along a random direction of the
logits, which throws the point to a corner of the ball where the outputs differ. The schedule is that of A³ (Ye et al.
2022) and PMA; a step's forward pass serves its gradient and the check of the step before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sparring.attacks.ascent import Ascent, Climb
from sparring.attacks.attack import Attack
from sparring.objectives import get
from sparring.oracle import Oracle
from sparring.problem import Goal, Objective, Outcome, Problem, Seen
from sparring.rules import Cosine, Steepest
from sparring.searches import Order, restarts, targets
from sparring.solve import solve
from sparring.values import Count, Natural, Positive, Share

_AWAY = (-0.5, 0.1)  # weights of the label's logit, and of the class aimed at (A³, section 3.2)
_TOWARD = 0.8


@dataclass(frozen=True)
class Scattered(Ascent):
    """An ascent whose first `scatter` steps climb a random direction of the logits; they are looks like any others."""

    scatter: int = 5

    def step(self, problem: Problem, oracle: Oracle, state: Climb) -> tuple[Tensor, Seen | None, Climb]:
        if state.moves >= self.scatter:
            left = replace(state, moves=state.moves - self.scatter)
            x, seen, after = super().step(problem, oracle, left)
            return x, seen, replace(after, moves=after.moves + self.scatter)
        seen = oracle.gradient(problem, state.x, self._direction(problem))
        x, _ = Steepest().move(problem, Steepest().start(problem, state.x), state.x, seen)
        memory = self.rule.start(problem, x)
        # Scores along the way are of another objective: any look at the real one is better.
        return state.x, replace(seen, score=torch.full_like(seen.score, -torch.inf)), Climb(x, memory, state.moves + 1)

    def over(self, state: Climb) -> Tensor:
        return torch.full((len(state.x),), state.moves > self.scatter + self.steps, device=state.x.device)

    def _direction(self, problem: Problem) -> Objective:
        """A random direction of the logits; how many classes there are is known once they are seen."""
        draws = problem.draws.at("outputs")
        low, high = _AWAY
        own = low + (high - low) * draws.uniform(problem.index, 1, (1,))

        def along(logits: Tensor, goal: Goal) -> Tensor:
            weights = 2 * draws.uniform(problem.index, 0, (logits.shape[1],)) - 1
            if goal.targeted:
                weights = weights.scatter(1, goal.label[:, None], _TOWARD)
            else:
                weights = weights.scatter(1, goal.label[:, None], own)
                if goal.aim is not None:
                    weights = weights.scatter(1, goal.aim[:, None], _TOWARD)
            return (logits * weights.to(logits)).sum(1)

        return along


@dataclass(frozen=True)
class CosinePGD(Attack):
    """Projected gradient ascent from scattered outputs, with steps that shrink along a cosine.

    steps: gradients after the start. scatter: gradients of the start. objective, restarts, n_targets: as for PGD.
    after: skips that many of the classes. order: which classes come first, see `searches.targets`. high, low: the first
    and last step, times the ball's reach. gap: logits are scaled so that at the clean example the first is this far
    above the third; whatever the network's own scale, no objective saturates, and none is flat. random_start: False
    begins where the problem does.
    """

    steps: Count = 20
    scatter: Natural = 5
    objective: str | Objective = "probability_margin"
    restarts: Count = 1
    n_targets: Natural = 0
    after: Natural = 0
    order: Order = "logits"
    high: Positive = 2.0
    low: Positive = 0.01
    momentum: Share = 0.75
    gap: Positive = 3.0
    random_start: bool = True

    def run(self, problem: Problem, oracle: Oracle) -> Outcome:
        rule = Cosine(self.steps, self.high, self.low, self.momentum)
        objective = scaled(get(self.objective), self.gap)
        ascent = Scattered(self.steps, objective, rule, random_start=self.random_start, scatter=self.scatter)

        def attempt(problem: Problem, oracle: Oracle) -> Outcome:
            return solve(ascent, problem, oracle)

        return targets(restarts(attempt, self.restarts), self.n_targets, self.after, self.order)(problem, oracle)


def scaled(objective: Objective, gap: float) -> Objective:
    """`objective` of logits scaled row by row so that the clean ones have that gap from the first to the third."""

    def climbed(logits: Tensor, goal: Goal) -> Tensor:
        if goal.reference is None:
            return objective(logits, goal)
        top = goal.reference.topk(min(3, goal.reference.shape[1]), dim=1).values
        width = (top[:, :1] - top[:, -1:]).clamp_min(torch.finfo(top.dtype).tiny ** 0.5)
        return objective(logits * (gap / width), goal)

    return climbed

"""The attack as a value: look at a candidate, keep it where it scores higher (algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from sparring.attacks.attack import Attack
from sparring.attacks.square.plane import Plane
from sparring.attacks.square.proposals import CHANCES, Flips, Masses, Proposal
from sparring.objectives import get
from sparring.oracle import Oracle
from sparring.problem import Objective, Outcome, Problem, Seen
from sparring.rows import Rows
from sparring.searches import restarts
from sparring.solve import solve
from sparring.threats.l1 import L1Ball
from sparring.threats.linf import LinfBall
from sparring.values import Count, PositiveShare

# After so many of 10,000 queries the windows' share of the image halves (section 4.1).
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
AHEAD = 32  # looks whose random numbers are drawn together


@dataclass(frozen=True)
class Standing(Rows):
    """The best point of each row, random numbers for the looks to come, and how many there were."""

    x: Tensor
    score: Tensor
    chances: Tensor
    looks: int = 0


@dataclass(frozen=True)
class RandomSearch:
    """`queries` looks, the first at the proposal's own start or where the problem begins."""

    queries: int
    p: float
    objective: Objective
    proposal: Proposal
    horizon: int | None = None
    random_start: bool = True

    def start(self, problem: Problem) -> Standing:
        return Standing(problem.x, problem.x.new_full((len(problem.x),), -torch.inf), self._chances(problem, 0))

    def step(self, problem: Problem, oracle: Oracle, state: Standing) -> tuple[Tensor, Seen, Standing]:
        look = state.looks
        if look:
            x = self.proposal.after(problem, state.x, state.chances[:, look % AHEAD], self.share(look))
        else:
            x = self.proposal.first(problem) if self.random_start else problem.x
        seen = oracle.look(problem, x, self.objective)
        chances = state.chances if (look + 1) % AHEAD else self._chances(problem, (look + 1) // AHEAD)
        best = Standing(x, seen.score, chances, look + 1)
        best = best.where(seen.score > state.score, replace(state, chances=chances))
        return (best.x if problem.seek == "strongest" else x), seen, best

    def over(self, state: Standing) -> Tensor:
        return torch.full((len(state.x),), state.looks >= self.queries, device=state.x.device)

    def _chances(self, problem: Problem, block: int) -> Tensor:
        numbers = CHANCES + Plane.of(problem.x).channels
        return problem.draws.at("window").uniform(problem.index, block, (AHEAD, numbers), torch.float64)

    def share(self, look: int) -> float:
        """The share of the image that a window covers."""
        return self.p * 0.5 ** sum(look * 10_000 > after * (self.horizon or self.queries) for after in HALVINGS)


@dataclass(frozen=True)
class Square(Attack):
    """Random search over square windows; it needs scores, and no gradients.

    queries: looks a start. p: the share of the image that the first windows cover; it halves as published, scaled
    to `horizon` looks, or to `queries` where that is None (AutoAttack's schedule is of 10,000, of which it makes the
    first 5,000). objective: a name or a function (N, K), goal -> (N,). restarts: independent random starts, each on
    the rows still standing. random_start: False begins where the problem does, not at stripes.
    """

    queries: Count = 5000
    p: PositiveShare = 0.8
    objective: str | Objective = "margin"
    restarts: Count = 1
    horizon: Count | None = None
    random_start: bool = True

    norms: ClassVar[frozenset[str]] = frozenset({"linf", "l2", "l1"})
    gradients: ClassVar[bool] = False

    def run(self, problem: Problem, oracle: Oracle) -> Outcome:
        if isinstance(problem.region, LinfBall):
            proposal: Proposal = Flips()
        else:
            proposal = Masses(order=1 if isinstance(problem.region, L1Ball) else 2)
        search = RandomSearch(self.queries, self.p, get(self.objective), proposal, self.horizon, self.random_start)

        def attempt(rows: Problem, seeing: Oracle) -> Outcome:
            return solve(search, rows, seeing)

        return restarts(attempt, self.restarts)(problem, oracle)

"""The attack as a value: walks from the clean example, then from random points beside it, towards one class or any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from sparring.attacks.attack import Attack
from sparring.attacks.fab.walk import Walk
from sparring.oracle import Oracle
from sparring.problem import Outcome, Problem
from sparring.rows import column
from sparring.searches import settled, targets
from sparring.solve import solve
from sparring.values import Count, Natural, PositiveShare, Range, Share


@dataclass(frozen=True)
class FAB(Attack):
    """The nearest adversarial example, by projections onto the linearised boundary; given a radius, the first inside.

    steps: projections a walk. restarts: walks, the first from the clean example, the others from random points at half
    the radius from it, or at half the distance known if that is less. n_targets: linearise the boundary of one
    runner-up class at a time, of that many in turn, one gradient a step (AutoAttack's FAB-T has 9); 0 linearises those
    of all the others at once, one gradient for each. alpha_max: how far a step is biased towards the clean example.
    eta: how far beyond the plane it goes. beta: what is left of the change after a step that errs. final: looks of the
    search with which a walk ends.
    """

    steps: Count = 100
    restarts: Count = 1
    n_targets: Natural = 0
    alpha_max: Share = 0.1
    eta: Annotated[float, Range(1)] = 1.05
    beta: PositiveShare = 0.9
    final: Natural = 3

    norms: ClassVar[frozenset[str]] = frozenset({"linf", "l2", "l1"})
    minimal: ClassVar[bool] = True

    def run(self, problem: Problem, oracle: Oracle) -> Outcome:
        found = settled(problem, oracle, targets(self._walks, self.n_targets)(problem, oracle))
        # A walk may end anywhere; the clean example is a point the model gets right.
        return found.where(found.success, Outcome.none(problem))

    def _walks(self, problem: Problem, oracle: Oracle) -> Outcome:
        walk = Walk(self.steps, self.alpha_max, self.eta, self.beta, self.final)
        out = solve(walk, problem, oracle)
        for number in range(1, self.restarts):
            at = (~out.success if problem.seek == "any" else out.success | True).nonzero().squeeze(1)
            if not len(at):
                break
            rows, before = problem.take(at), out.take(at)
            known = torch.where(before.success, before.distance, torch.inf)
            again = solve(walk, rows, oracle, walk.start_at(rows, beside(rows, known, number)))
            out = out.put(at, before.better(again, problem.seek))
        return out


def beside(problem: Problem, known: Tensor, number: int) -> Tensor:
    """Random points at half the radius from the clean examples, or half the distance `known` (N,) if that is less.

    Where neither says how far, half the way to the end of the input range; where there is no end, the example itself.
    """
    region = problem.region
    far = torch.minimum(region.radius, known)
    far = torch.where(far.isinf(), region.farthest(), far)
    far = torch.where(far.isinf(), 0, far)
    points = region.resized(far).sample(problem.draws.at("restart"), problem.index, number)
    away = region.distance(points)
    share = torch.where(away > 0, far / away.where(away > 0, 1), 0) / 2
    return region.project(problem.x + column(share, points) * (points - problem.x))

"""Constraint relaxation (Pan & Yao 2025, "Efficient robustness evaluation via constraint relaxation").

Short PGD names the classes worth aiming at. Towards each, the point then walks in cycles of three thirds: in a ball
larger than allowed, where it gets past what holds it back at the edge; back in the true one; and from a random point
beside where that led. Every cycle relaxes half as much as the one before. Most pairs of an example and a class are
given up after two thirds of the first cycle, for how far they then are from the boundary tells enough: that is what
makes the attack cheap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from sparring.attacks.ascent import Ascent
from sparring.attacks.attack import Attack
from sparring.objectives import cross_entropy, margin
from sparring.oracle import Oracle
from sparring.problem import Outcome, Problem, Seen
from sparring.rows import Rows
from sparring.rules import Steepest
from sparring.solve import solve
from sparring.threats.ball import Ball
from sparring.values import Amount, Count, Natural, Range

LEAST = 0.05  # the share of the radius by which the last cycles relax, and of which their steps are


@dataclass(frozen=True)
class Walker(Rows):
    """Where a row is, the unit of its margins (N,), and its margin at the last look in that unit (N,)."""

    x: Tensor
    scale: Tensor
    margin: Tensor
    moves: int = 0


@dataclass(frozen=True)
class Cycles:
    """`steps` moves towards one class, a gradient each, and a last look; two thirds into a cycle a row may be given up.

    A look serves the gradient and the check of the step before, except while relaxed: of those points the last one is
    checked, moved back into the region. (The authors' code also checks each of them, with a forward pass of its own.)
    """

    steps: int
    period: int
    hopeless: float

    def start(self, problem: Problem) -> Walker:
        return self.start_at(problem, torch.ones_like(problem.region.radius))

    def start_at(self, problem: Problem, scale: Tensor) -> Walker:
        """The state at a random point, margins measured in units of `scale` (N,)."""
        x = problem.region.sample(problem.draws.at("start"), problem.index, 0)
        return Walker(x, scale, torch.zeros_like(scale))

    def step(self, problem: Problem, oracle: Oracle, state: Walker) -> tuple[Tensor, Seen | None, Walker]:
        region, third, share = problem.region, self.period // 3, self._share(state.moves)
        x, phase, moves = state.x, state.moves % self.period, state.moves + 1
        if state.moves == self.steps:
            x = region.project(x)
            last = None if problem.seek == "strongest" else _scaled(oracle.look(problem, x, margin), state.scale)
            return x, last, replace(state, x=x, moves=moves)
        if phase == third:
            x = region.project(x)
        if phase == 2 * third:
            x = beside(problem, x, share, state.moves)
        seen = _scaled(oracle.gradient(problem, x, margin), state.scale)
        ball = region.resized(region.radius * (1 + share)) if phase < third else region
        ahead = ball.project(region.moved(x, seen.gradient, share))
        relaxed = 0 < phase < third  # nobody asks whether the model errs out there
        return x, None if relaxed else seen, replace(state, x=ahead, margin=seen.score, moves=moves)

    def over(self, state: Walker) -> Tensor:
        done, phase = state.moves - 1, (state.moves - 1) % self.period
        if done >= self.steps or phase != 2 * (self.period // 3) - 1:
            return torch.full_like(state.margin, done >= self.steps, dtype=torch.bool)
        return state.margin < -self.hopeless * self._share(done)

    def _share(self, moves: int) -> float:
        """By how much the radius is relaxed in that cycle: a half, a quarter, …; steps are this share of it too."""
        return max(0.5 ** (moves // self.period + 1), LEAST)


def _scaled(seen: Seen, scale: Tensor) -> Seen:
    return replace(seen, score=seen.score.to(scale) / scale)


def beside(problem: Problem, x: Tensor, share: float, step: int) -> Tensor:
    """x, drawn in to 1 - share of the radius, and from there a random point of a ball of that share of it."""
    region = problem.region
    assert isinstance(region, Ball)
    inner = region.resized(region.radius * (1 - share)).project(x)
    around = replace(region, centre=inner, radius=region.radius * share)
    return region.project(around.sample(problem.draws.at("beside"), problem.index, step))


@dataclass(frozen=True)
class ConstraintRelaxation(Attack):
    """Walks towards a few classes in cycles that relax the radius, and soon gives up on what is far from falling.

    steps: gradients towards a class. period: steps of a cycle, a third in a larger ball, a third in the true one, a
    third from beside. first: gradients of the PGD on cross-entropy that comes first and ranks the classes; 0 does
    without, and ranks them by the clean logits (in a plan, by those of the closest look). restarts: walks towards a
    class, the later ones only where the one before came close. n_targets: classes aimed at, the highest first; 0 takes
    the logarithm of the number of classes rounded up, at least three. hopeless: how far, times the share by which a
    cycle relaxes, a pair may be from the boundary and go on. close: how near a walk must have come to be repeated.

    Both limits are in units of the example's own gap between the first logit and the third where PGD ended, which makes
    them free of the scale of the logits. The authors' are 1 and 0.05 in logits:
    `ConstraintRelaxation(hopeless=1.0, close=0.05, scaled=False)`. There is no form for L1, where one steepest step
    moves one coordinate: on 150 CIFAR-10 images and one small network it left 3 points (radius 2) and 10 points
    (radius 5) more standing than Auto-PGD on DLR towards three classes.
    """

    steps: Count = 150
    period: Annotated[int, Range(3)] = 30
    first: Natural = 10
    restarts: Count = 5
    n_targets: Natural = 0
    hopeless: Amount = 0.5
    close: Amount = 0.05
    scaled: bool = True

    norms: ClassVar[frozenset[str]] = frozenset({"linf", "l2"})

    def run(self, problem: Problem, oracle: Oracle) -> Outcome:
        if not self.first:
            logits = problem.clean if problem.clean is not None else oracle.logits(problem, problem.x)
            return self._towards_each(problem, oracle, Outcome.none(problem), logits)
        pgd = Ascent(self.first, cross_entropy, Steepest(share=0.5))
        found = pgd(replace(problem, draws=problem.draws.at("first")), oracle)
        at = (~found.success if problem.seek == "any" else found.success | True).nonzero().squeeze(1)
        if not len(at):
            return found
        rows, ended = problem.take(at), found.take(at)
        return found.put(at, self._towards_each(rows, oracle, ended, oracle.logits(rows, ended.x)))

    def _towards_each(self, problem: Problem, oracle: Oracle, out: Outcome, logits: Tensor) -> Outcome:
        """The best of `out` and of walks towards the classes that `logits` (N, K) rank highest, one after another."""
        scale, aims = self._gap(problem, logits), self._aims(problem, logits)
        out = replace(out, score=margin(logits, problem.goal).to(scale) / scale)
        worth = torch.ones(aims.shape, dtype=torch.bool, device=aims.device)
        walk = Cycles(self.steps, self.period, self.hopeless)
        for number, place in product(range(self.restarts), range(aims.shape[1])):
            at = (worth[:, place] & ~(out.success & (problem.seek == "any"))).nonzero().squeeze(1)
            if not len(at):
                continue
            goal = problem.goal if problem.goal.targeted else replace(problem.goal, aim=aims[:, place])
            draws = problem.draws.at("walk", number, "target", place)
            rows = replace(problem, goal=goal, draws=draws).take(at)
            tried = solve(walk, rows, oracle, walk.start_at(rows, scale[at]))
            worth[at, place] = tried.score > -self.close
            out = out.put(at, out.take(at).better(tried, problem.seek))
        return out

    def _gap(self, problem: Problem, logits: Tensor) -> Tensor:
        """(N,) the unit of margins, which makes them free of the scale of the logits."""
        if not self.scaled:
            return torch.ones_like(problem.region.radius)
        # Of two classes the gap is the margin that is left, and says nothing of the scale: the clean one does.
        if logits.shape[1] == 2 and problem.goal.reference is not None:
            logits = problem.goal.reference
        top = logits.topk(min(3, logits.shape[1]), dim=1).values
        return (top[:, 0] - top[:, -1]).to(problem.x).clamp_min(torch.finfo(problem.x.dtype).tiny)

    def _aims(self, problem: Problem, logits: Tensor) -> Tensor:
        """(N, targets) the classes to walk towards; the one wanted, where one is."""
        label, classes = problem.goal.label[:, None], logits.shape[1]
        if problem.goal.targeted:
            return label
        count = self.n_targets or max(3, math.ceil(math.log(classes)))
        wrong = logits.scatter(1, label, -torch.inf)
        return wrong.argsort(dim=1, descending=True, stable=True)[:, : min(count, classes - 1)]

"""One run of FAB: along the linearised boundary towards the clean example, then a last search between the two.

A step (algorithm 1) linearises the nearest boundary at the point, projects both the point and the clean example onto
it, goes a little beyond on a path between the two, and falls back towards the clean example where that errs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sparring.attacks.fab.projection import step_to_plane
from sparring.objectives import margin, margins
from sparring.oracle import Oracle
from sparring.problem import Goal, Problem, Seen
from sparring.rows import Rows, column
from sparring.threats.ball import Ball
from sparring.threats.l1 import L1Ball
from sparring.threats.linf import LinfBall

# How far beyond a computed crossing the last search looks, as a share of the way: single precision blurs less.
BEYOND = 2e-5
SHORTEST = 1e-8  # two steps of no length at all share the way equally


@dataclass(frozen=True)
class Standpoint(Rows):
    """Where a row is, the nearest point so far that errs, and what the last search needs of it."""

    x: Tensor
    best: Tensor  # (N, …) the nearest point that errs,
    distance: Tensor  # (N,) how far it is: inf before there is one,
    lead: Tensor  # (N,) and by how much it errs
    foot: Tensor  # (N, …) where the plane that led there is nearest to the clean example
    low: Tensor  # (N,) the last search: a share of the way from the clean example to best at which the model is right,
    behind: Tensor  # (N,) and by how much;
    high: Tensor  # (N,) a share at which it errs
    moves: int = 0


@dataclass(frozen=True)
class Walk:
    """`steps` steps, each a gradient (one for every wrong class, where any will do) and a look; then the last search.

    final: looks of the last search between the clean example and the nearest point that errs, by false position, after
    one at the nearest point of the plane that led there. 0 does without.
    """

    steps: int
    alpha_max: float
    eta: float
    beta: float
    final: int

    def start(self, problem: Problem) -> Standpoint:
        return self.start_at(problem, problem.x)

    def start_at(self, problem: Problem, x: Tensor) -> Standpoint:
        """The state from which to walk at x."""
        none, zero = torch.full_like(problem.region.radius, torch.inf), torch.zeros_like(problem.region.radius)
        behind = zero if problem.clean is None else lead(problem, problem.clean)
        return Standpoint(x, x, none, zero, x, zero, behind, torch.ones_like(zero))

    def step(self, problem: Problem, oracle: Oracle, state: Standpoint) -> tuple[Tensor, Seen, Standpoint]:
        if state.moves < self.steps:
            return self._walked(problem, oracle, state)
        return self._searched(problem, oracle, state)

    def over(self, state: Standpoint) -> Tensor:
        looks = self.final + 1 if self.final else 0
        return (state.moves >= self.steps) & state.distance.isinf() | (state.moves >= self.steps + looks)

    def _walked(self, problem: Problem, oracle: Oracle, state: Standpoint) -> tuple[Tensor, Seen, Standpoint]:
        x, centre, region = state.x, problem.x, problem.region
        assert isinstance(region, Ball)
        order = norm_order(region)
        here = oracle.gradient(problem, x, margins)
        here = replace(here, score=here.score.to(x))  # a network in double precision answers so
        slope, gap = nearest_plane(order, here)
        # The same plane seen from the clean example: how far <slope, .> must rise to meet it.
        gap_there = gap + (slope * (x - centre).flatten(1)).sum(1, dtype=torch.float64)
        step, leap = (
            step_to_plane(order, slope, much, (at - region.low).flatten(1), (region.high - at).flatten(1))
            for at, much in ((x, gap.double()), (centre, gap_there))
        )
        length, reach = (torch.linalg.vector_norm(d, order, dim=1).clamp_min(SHORTEST) for d in (step, leap))
        bias = column((length / (length + reach)).clamp_max(self.alpha_max), x)
        step, leap = step.reshape(x.shape), leap.reshape(x.shape)
        ahead = region.clip((1 - bias) * (x + self.eta * step) + bias * (centre + self.eta * leap))
        foot = region.clip(centre + (1 + BEYOND) * leap)

        # The point was looked at on the way to its gradient: fallen back, it may err still, and nearer.
        found = self._kept(problem, state, x, foot, plain(problem, here))
        seen = oracle.look(problem, ahead, margin)
        beyond = self._kept(problem, found, ahead, foot, seen)
        wrong = problem.goal.reached(seen.logits)
        back = region.clip(centre + self.beta * (ahead - centre))
        on = torch.where(column(wrong, x), back, ahead)
        # Of the two looks the nearer one that errs is told.
        first = (found.distance < state.distance) & ~(beyond.distance < found.distance)
        told = plain(problem, here).where(first, seen)
        point = torch.where(column(first, x), x, ahead)
        return point, told, replace(beyond, x=on, moves=state.moves + 1)

    def _kept(self, problem: Problem, state: Standpoint, x: Tensor, foot: Tensor, seen: Seen) -> Standpoint:
        """`state` with x as its best where x errs, nearer than any before."""
        distance = problem.region.distance(x)
        nearer = problem.goal.reached(seen.logits) & (distance < state.distance)
        where = column(nearer, x)
        return replace(
            state,
            best=torch.where(where, x, state.best),
            foot=torch.where(where, foot, state.foot),
            distance=torch.where(nearer, distance, state.distance),
            lead=torch.where(nearer, lead(problem, seen.logits), state.lead),
        )

    def _searched(self, problem: Problem, oracle: Oracle, state: Standpoint) -> tuple[Tensor, Seen, Standpoint]:
        centre, region = problem.x, problem.region
        assert isinstance(region, Ball)
        if state.moves == self.steps:
            seen = oracle.look(problem, state.foot, margin)
            found = self._kept(problem, state, state.foot, state.foot, seen)
            return state.foot, seen, replace(found, moves=state.moves + 1)
        share = state.behind / (state.behind - state.lead).clamp_max(-1e-30)
        share = state.low + (state.high - state.low) * share.clamp(0, 1)
        share = torch.minimum(share * (1 + BEYOND), state.high)
        x = region.clip(centre + column(share, centre) * (state.best - centre))
        seen = oracle.look(problem, x, margin)
        wrong, score = problem.goal.reached(seen.logits), lead(problem, seen.logits)
        state = replace(
            state,
            low=torch.where(wrong, state.low, share),
            behind=torch.where(wrong, state.behind, score),
            high=torch.where(wrong, share, state.high),
            lead=torch.where(wrong, score, state.lead),
            moves=state.moves + 1,
        )
        return x, seen, state


def either(goal: Goal) -> Goal:
    """The goal without a class to climb towards: any that counts."""
    return replace(goal, aim=None)


def plain(problem: Problem, seen: Seen) -> Seen:
    """What was seen, with the margin for its score and no gradient, as `Oracle.look` has it."""
    return Seen(seen.logits, margin(seen.logits, problem.goal), torch.zeros_like(problem.x))


def norm_order(region: Ball) -> float:
    """The p of the region's norm."""
    if isinstance(region, LinfBall):
        return torch.inf
    return 1 if isinstance(region, L1Ball) else 2


def lead(problem: Problem, logits: Tensor) -> Tensor:
    """(N,) by how much the model errs, in the precision of x, whatever that of the network."""
    return margin(logits, either(problem.goal)).to(problem.x)


def nearest_plane(order: float, seen: Seen) -> tuple[Tensor, Tensor]:
    """slope (N, D) and gap (N,) of the linearised boundary nearest in L_order: <slope, d> = gap leads onto it."""
    slopes, gaps = seen.gradient.flatten(2), -seen.score
    dual = {1: torch.inf, 2: 2, torch.inf: 1}[order]
    steepness = torch.linalg.vector_norm(slopes, dual, dim=2)
    away = torch.where(steepness > 0, gaps.abs() / steepness, torch.inf)
    at = away.argmin(1)
    rows = torch.arange(len(at), device=at.device)
    return slopes[rows, at], gaps[rows, at]

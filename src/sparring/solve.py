"""The only loop: step, keep the best, retire, compact. Start reading here.

A method proposes a look at a time; `solve` judges it, keeps the best look of each row, and lets rows leave as
soon as they have what they came for. The rest go on in a smaller batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from sparring.oracle import Oracle
from sparring.problem import Outcome, Problem, Seen
from sparring.rows import Rows

State = TypeVar("State", bound=Rows)


class Method(Protocol[State]):
    """What `solve` drives. A solve starts all its rows together, so a clock is one number, not a column."""

    def start(self, problem: Problem) -> State:
        """The state of every row before its first look."""
        ...

    def step(self, problem: Problem, oracle: Oracle, state: State) -> tuple[Tensor, Seen | None, State]:
        """One look: the point, what was seen there (None: nobody looked), and the state to go on from."""
        ...

    def over(self, state: State) -> Tensor:
        """(N,) bool: the rows with nothing left to try."""
        ...


def solve(method: Method[State], problem: Problem, oracle: Oracle, state: State | None = None) -> Outcome:
    """Drive `method` until every row is over; returns each row's best look.

    seek "any" retires a row at its first success; "nearest" keeps the closest success; "strongest" (training)
    never retires and returns the last point.
    """
    state = method.start(problem) if state is None else state
    best = out = Outcome.none(problem)
    at = torch.arange(len(problem.index), device=problem.x.device)
    while len(at):
        x, seen, state = method.step(problem, oracle, state)
        best = best.better(sure(problem, oracle, judged(problem, best, x, seen)), problem.seek)
        over = method.over(state)
        if problem.seek == "any":
            over = over | best.success
        if bool(over.any()):
            out = best if len(at) == len(out.x) and bool(over.all()) else out.put(at[over], best.take(over))
            on = (~over).nonzero().squeeze(1)
            problem, state, best, at = problem.take(on), state.take(on), best.take(on), at[on]
    return out


def judged(problem: Problem, base: Outcome, x: Tensor, seen: Seen | None) -> Outcome:
    """One look as an outcome: success means the goal is reached inside the region; "strongest" asks for no verdict."""
    if seen is None or problem.seek == "strongest":
        return replace(base, x=x)
    success = problem.goal.reached(seen.logits)
    if bool(success.any()):
        won = success.nonzero().squeeze(1)
        success = success.index_copy(0, won, problem.region.take(won).contains(x.index_select(0, won)))
    # Only the nearest search compares distances on the way; the others measure once, at the end.
    distance = problem.region.distance(x) if problem.seek == "nearest" else base.distance
    return replace(base, x=x, success=success, distance=distance, score=seen.score.to(base.score))


def sure(problem: Problem, oracle: Oracle, look: Outcome) -> Outcome:
    """A randomised model must err on fresh draws too, and a search in another precision must convince the judge: a row
    that left at a lucky draw, or at a rounding, would not be tried again."""
    if (oracle.model.eot == 1 and not oracle.coarse) or not bool(look.success.any()):
        return look
    return replace(look, success=confirmed(problem, oracle, look))


def confirmed(problem: Problem, oracle: Oracle, found: Outcome) -> Tensor:
    """(N,) bool: the claimed successes that fresh forward passes of the judge confirm, goal and region both."""
    held = found.success
    for _ in range(oracle.looks):
        won = held.nonzero().squeeze(1)
        claim, x = problem.take(won), found.x.index_select(0, won)
        again = claim.goal.reached(oracle.logits(claim, x)) & claim.region.contains(x) if len(won) else held[won]
        held = held.index_copy(0, won, again)
    return held


def verified(problem: Problem, oracle: Oracle, found: Outcome) -> Outcome:
    """`found` with every claimed success confirmed by a fresh forward pass, distances measured, counts filled in.

    A claim that does not hold (another batch shape rounds differently) goes back to the clean example. A search in
    another precision may also have passed over a success: the judge looks at every row's best point.
    """
    if problem.seek != "strongest":
        claims = replace(found, success=torch.ones_like(found.success)) if oracle.coarse else found
        held = found.success
        if bool(claims.success.any()):
            held = confirmed(problem, oracle, claims)
        slipped = found.success & ~held
        if bool(slipped.any()):
            found = Outcome.none(problem).where(slipped, found)
        found = replace(found, success=held)
    return replace(
        found,
        distance=problem.region.distance(found.x),
        forwards=oracle.forwards[problem.slot],
        backwards=oracle.backwards[problem.slot],
        zero_gradients=oracle.zero_gradients[problem.slot],
    )

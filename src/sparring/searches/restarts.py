"""One attempt after another, each on the rows the earlier ones left standing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from sparring.oracle import Oracle
from sparring.problem import Outcome, Problem

Attempt = Callable[[Problem, Oracle], Outcome]


def first_success(attempts: Iterable[Attempt], problem: Problem, oracle: Oracle) -> Outcome:
    """The best of all attempts; with seek "any" a row leaves at its first success."""
    out = Outcome.none(problem)
    for attempt in attempts:
        standing = ~out.success if problem.seek == "any" else out.success | True
        if not bool(standing.any()):
            break
        at = standing.nonzero().squeeze(1)
        out = out.put(at, out.take(at).better(attempt(problem.take(at), oracle), problem.seek))
    return out


def restarts(attempt: Attempt, times: int) -> Attempt:
    """`attempt` from `times` independent random starts."""
    if times == 1:
        return attempt

    def again(number: int) -> Attempt:
        return lambda problem, oracle: attempt(replace(problem, draws=problem.draws.at("restart", number)), oracle)

    return lambda problem, oracle: first_success(map(again, range(times)), problem, oracle)

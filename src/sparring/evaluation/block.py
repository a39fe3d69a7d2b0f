"""A block: consecutive examples taken through the whole ladder, alone. The unit of work and of resuming."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sparring.attacks.attack import entered, opened
from sparring.auditing.probe import Evidence, probe
from sparring.draws import isolated
from sparring.errors import NoGradient
from sparring.evaluation.past import Past
from sparring.evaluation.rung import Rung
from sparring.model import Model
from sparring.oracle import Oracle
from sparring.problem import Outcome, Problem
from sparring.rows import Rows
from sparring.solve import verified

ROBUST = -1
CLEAN = 0  # broken by no attack: wrong from the start


@dataclass(frozen=True)
class Block(Rows):
    """What the ladder did to each example.

    x: (N, …) the verified adversarial example where there is one, the input elsewhere.
    broken_by: (N,) ROBUST, CLEAN, or the number of the rung that broke it, from 1.
    distance: (N,) from the input to x. forwards, backwards, zero_gradients: (N, 2 + rungs), the clean look first, the
    checks of what stood when they were asked last. seconds: (N, 2 + rungs) wall time, shared evenly among its examples.
    probabilities: (N,) bool, the network returned probabilities instead of logits.
    evidence: (N, columns) what the checks found, see `Evidence`.
    missed: (N, 2 + rungs) float32, by how much the closest look after each rung missed, in units of `Nearness`; NaN
    where the rung did not take it, or nothing had moved it. index, y: (N,) the example's place in the data, its label.
    """

    x: Tensor
    broken_by: Tensor
    distance: Tensor
    forwards: Tensor
    backwards: Tensor
    zero_gradients: Tensor
    seconds: Tensor
    probabilities: Tensor
    evidence: Tensor
    missed: Tensor
    index: Tensor
    y: Tensor


def climb(
    model: Model,
    problem: Problem,
    rungs: Sequence[Rung],
    told: Callable[[str, int], None],
    fast: Model | None = None,
    batch_size: int | None = None,
    view: Model | None = None,
) -> Block:
    """Take the rows of `problem` up the ladder.

    Args:
        told: told(rung, broken so far) is called after each rung.
        fast: the same network in the form in which it is searched; `model` judges. None searches `model` itself.
        batch_size: examples a pass; None takes all of them.
        view: the network with other gradients, for the rungs that look through what was understood of it.

    Raises:
        NoGradient: a gradient attack met none, and the ladder has no attack that needs none.
    """
    x, device, fast = problem.x, problem.x.device, fast or model
    exact = None if fast is model else model
    size = batch_size or max(1, len(x))
    counts = torch.zeros(3, len(x), 2 + len(rungs), dtype=torch.int64, device=device)
    seconds = torch.zeros(len(x), 2 + len(rungs), dtype=torch.float64)
    missed = torch.full((len(x), 2 + len(rungs)), torch.nan, device=device)
    bounded = bool(problem.region.radius.isfinite().all())
    spared = any(not rung.attack.gradients for rung in rungs)  # somebody can do without gradients
    with model.quiet(), nullcontext() if exact is None else fast.quiet(), isolated(problem.draws.seed, device):
        oracle = Oracle(fast, len(x), device, exact)

        def passes(chosen: Tensor) -> list[Tensor]:
            return [at for at in torch.split(chosen.nonzero().squeeze(1), size) if len(at)]

        def noted(at: Tensor, number: int, clock: float, oracle: Oracle) -> None:
            counts[:, at, number] += torch.stack([oracle.forwards, oracle.backwards, oracle.zero_gradients])
            seconds[at.cpu(), number] += (time.perf_counter() - clock) / len(at)

        def examined(past: Past, standing: Tensor) -> Past:
            """With the evidence of the rows that still stand, if nobody asked them yet."""
            unasked = standing & Evidence(*past.evidence.unbind(1)).absent.isnan()
            for at in passes(unasked) if bounded else ():
                clock = time.perf_counter()
                answers, asked = probe(problem.take(at), model)
                past = replace(past, evidence=past.evidence.index_copy(0, at, answers.columns))
                noted(at, -1, clock, asked)
            return past

        opening = []
        for at in passes(torch.ones_like(problem.slot, dtype=torch.bool)):
            clock = time.perf_counter()
            oracle.recount(len(at))
            opening.append(opened(entered(problem.take(at), ""), oracle))
            noted(at, 0, clock, oracle)
        found = Outcome.join([outcome for _, outcome in opening])
        rows = Problem.join([part for part, _ in opening])
        problem = replace(problem, goal=rows.goal, clean=rows.clean)
        assert problem.clean is not None
        past = Past.none(problem, problem.clean, rungs)
        broken_by = torch.full_like(problem.slot, ROBUST).where(~found.success, CLEAN)
        told("clean", int(found.success.sum()))
        for number, rung in enumerate(rungs, start=1):
            own = view is None or rung.seen == "own"
            if own and rung.seen == "understood":
                continue
            if rung.doubted:
                past = examined(past, ~found.success)
            chosen = passes(~found.success & past.chosen(rung, rungs, own))
            for at in chosen:
                clock = time.perf_counter()
                before = past.take(at)
                rows = before.posed(entered(problem.take(at), rung.name), rung)
                search, judge = (fast, exact) if own or view is None else (view, None)
                oracle.recount(len(at), rung.view(search), None if judge is None else rung.view(judge))
                oracle.nearness = before.first
                with nullcontext() if own else oracle.model.quiet():
                    try:
                        tried = verified(rows, oracle, rung.attack.run(rows, oracle))
                        absent = False
                    except NoGradient:
                        if not spared:
                            raise
                        tried, absent = Outcome.none(rows), True
                after = before.after(rung, rungs, oracle, own, absent)
                oracle.nearness = None
                past = past.put(at, after)
                missed[at, number] = after.nearness.missed.where(after.nearness.missed.isfinite(), torch.nan).to(missed)
                noted(at, number, clock, oracle)
                won = tried.success.nonzero().squeeze(1)
                found = found.put(at[won], tried.take(won))
                broken_by = broken_by.index_fill(0, at[won], number)
            if chosen:
                told(rung.name, int(found.success.sum()))
        past = examined(past, ~found.success)
    evidence = past.evidence.where(~found.success[:, None], torch.nan)  # of what still stands
    probabilities = torch.full_like(found.success, oracle.probabilities)
    forwards, backwards, zeros = counts
    spent = (forwards, backwards, zeros, seconds)
    known = (missed, problem.index, problem.goal.label)
    return Block(found.x, broken_by, found.distance, *spent, probabilities, evidence, *known).to("cpu")

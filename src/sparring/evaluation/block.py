"""A block: consecutive examples taken through the whole ladder, alone. The unit of work and of resuming."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sparring.attacks.attack import entered, opened
from sparring.auditing.probe import Evidence, probe
from sparring.draws import isolated
from sparring.evaluation.rung import Rung
from sparring.model import Model
from sparring.nearness import Nearness
from sparring.oracle import Oracle
from sparring.problem import Problem
from sparring.rows import Rows
from sparring.solve import verified

ROBUST = -1
GAIN = 0.01  # of the clean gap: less is what any longer search finds
CLEAN = 0  # broken by no attack: wrong from the start


@dataclass(frozen=True)
class Block(Rows):
    """What the ladder did to each example.

    x: (N, …) the verified adversarial example where there is one, the input elsewhere.
    broken_by: (N,) ROBUST, CLEAN, or the number of the rung that broke it, from 1.
    distance: (N,) from the input to x. forwards, backwards, zero_gradients: (N, 2 + rungs), the clean look first, the
    checks of what still stands last. seconds: (N, 2 + rungs) wall time, shared evenly among the examples in it.
    probabilities: (N,) bool, the network returned probabilities instead of logits.
    evidence: (N, columns) what the checks found, see `Evidence`.
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


def climb(model: Model, problem: Problem, rungs: Sequence[Rung], told: Callable[[str, int], None]) -> Block:
    """Take the rows of `problem` up the ladder; `told(rung, broken so far)` is called after each rung."""
    x = problem.x
    counts = torch.zeros(3, len(x), 2 + len(rungs), dtype=torch.int64, device=x.device)
    seconds = torch.zeros(len(x), 2 + len(rungs), dtype=torch.float64)
    broken_by = torch.full_like(problem.slot, ROBUST)
    with model.quiet(), isolated(problem.draws.seed, x.device):
        clock = time.perf_counter()
        oracle = Oracle(model, len(x), x.device)
        problem = replace(problem, slot=torch.arange(len(x), device=x.device))
        problem, found = opened(problem, oracle)
        assert problem.clean is not None
        nearness = Nearness.at(problem.clean, problem.goal.label)
        broken_by = broken_by.where(~found.success, CLEAN)
        closer: dict[str, Tensor] = {}  # by rung, the rows that it brought closer
        counts[0, :, 0] = oracle.forwards
        seconds[:, 0] = (time.perf_counter() - clock) / len(x)
        told("clean", int(found.success.sum()))
        for number, rung in enumerate(rungs, start=1):
            chosen = ~found.success & (nearness.margin >= -rung.within)
            if rung.gained:
                chosen &= closer.get(rung.gained, torch.zeros_like(chosen))
            at = chosen.nonzero().squeeze(1)
            if not len(at):
                continue
            clock = time.perf_counter()
            rows = entered(problem.take(at), rung.name)
            if rung.ranked == "closest":
                rows = replace(rows, clean=nearness.logits[at])
            oracle.recount(len(at), rung.view(model))
            oracle.nearness = nearness.take(at)
            tried = verified(rows, oracle, rung.attack.run(rows, oracle))
            before, nearness = nearness.margin, nearness.put(at, oracle.nearness)
            closer[rung.name] = nearness.margin > before + GAIN
            counts[:, at, number] = torch.stack([oracle.forwards, oracle.backwards, oracle.zero_gradients])
            broken_by = broken_by.index_copy(0, at, torch.where(tried.success, number, ROBUST))
            won = tried.success.nonzero().squeeze(1)
            found = found.put(at[won], tried.take(won))
            seconds[at.cpu(), number] = (time.perf_counter() - clock) / len(at)
            told(rung.name, int(found.success.sum()))
        evidence = Evidence.none(x)
        at = (broken_by == ROBUST).nonzero().squeeze(1)
        if len(at) and bool(problem.region.radius.isfinite().all()):
            clock = time.perf_counter()
            answers, asked = probe(problem.take(at), model)
            evidence = evidence.put(at, answers)
            counts[:, at, -1] = torch.stack([asked.forwards, asked.backwards, asked.zero_gradients])
            seconds[at.cpu(), -1] = (time.perf_counter() - clock) / len(at)
    probabilities = torch.full_like(found.success, oracle.probabilities)
    forwards, backwards, zeros = counts
    spent = (forwards, backwards, zeros, seconds)
    return Block(found.x, broken_by, found.distance, *spent, probabilities, evidence.columns).to("cpu")

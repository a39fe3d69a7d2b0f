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
from sparring.clock import since
from sparring.draws import isolated
from sparring.errors import NoGradient
from sparring.evaluation.past import Past
from sparring.evaluation.rung import Rung
from sparring.model import Model
from sparring.oracle import Oracle
from sparring.problem import Outcome, Problem
from sparring.rows import Rows, column
from sparring.solve import verified

ROBUST = -1
CLEAN = 0  # broken by no attack: wrong from the start, or at its target already
UNTAKEN, TAKEN, BLIND = 0, 1, 2  # what a rung did with a row; BLIND where it met no gradient that could be followed
# Who looks often at a randomised network finds draws that err. So a claim must hold that often, on fresh draws each
# time, to end a row's trouble; and one last look of so many draws decides for all, those that never held included.
LOOKS, LAST = 2, 64


@dataclass(frozen=True)
class Block(Rows):
    """What the ladder did to each example.

    x: (N, …) the verified adversarial example where there is one, the input elsewhere.
    broken_by: (N,) ROBUST, CLEAN, or the number of the rung that broke it, from 1. correct: (N,) bool, the clean input
    is given its label.
    taken: (N, 2 + rungs) uint8, UNTAKEN, TAKEN or BLIND.
    distance: (N,) from the input to x. forwards, backwards, zero_gradients: (N, 2 + rungs), the clean look first, the
    checks of what stood when they were asked last. seconds: (N, 2 + rungs) wall time, shared evenly among its examples.
    probabilities: (N,) bool, the network returned probabilities instead of logits.
    evidence: (N, columns) what the checks found, see `Evidence`.
    missed: (N, 2 + rungs) float32, by how much the closest look after each rung missed, in units of `Nearness`; NaN
    where the rung did not take it, or nothing had moved it. index, y: (N,) the example's place in the data, its label.
    single: (N, rungs or 0) bool, each rung alone breaks the row; single_cost: (N, rungs or 0, 3), its forwards,
    backwards and seconds, where it had not taken it.
    """

    x: Tensor
    broken_by: Tensor
    correct: Tensor
    taken: Tensor
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
    single: Tensor
    single_cost: Tensor


def climb(
    model: Model,
    problem: Problem,
    rungs: Sequence[Rung],
    told: Callable[[str, int], None],
    fast: Model | None = None,
    batch_size: int | None = None,
    view: Model | None = None,
    roughness: float = 0.0,
    individual: bool = False,
) -> Block:
    """Take the rows of `problem` up the ladder.

    Args:
        told: told(rung, broken so far) is called after each rung.
        fast: the same network in the form in which it is searched; `model` judges. None searches `model` itself.
        batch_size: examples a pass; None takes all of them.
        view: the network with other gradients, for the rungs that look through what was understood of it.
        roughness: of the network, for the rungs that ask for it, see `auditing.roughness`.
        individual: each rung also takes the rows that fell before it, see `Block.single`.

    Raises:
        NoGradient: a gradient attack met none, and the ladder has no attack that needs none.
    """
    fast = fast or model
    with (
        model.quiet(),
        nullcontext() if fast is model else fast.quiet(),
        isolated(problem.draws.seed, problem.x.device),
    ):
        ladder = _Ladder(model, problem, rungs, fast, view, batch_size, roughness)
        told("clean", int(ladder.found.success.sum()))
        for number, rung in enumerate(rungs, start=1):
            if ladder.climbed(number):
                told(rung.name, int(ladder.found.success.sum()))
        return ladder.ended(individual)


class _Ladder:
    """The rows on their way up: what was found, what is known of them, what they cost."""

    def __init__(
        self,
        model: Model,
        problem: Problem,
        rungs: Sequence[Rung],
        fast: Model,
        view: Model | None,
        batch_size: int | None,
        roughness: float,
    ) -> None:
        self.model, self.rungs, self.fast, self.view, self.roughness = model, rungs, fast, view, roughness
        self.exact = None if fast is model else model
        x = problem.x
        self.size = batch_size or max(1, len(x))
        self.counts = torch.zeros(3, len(x), 2 + len(rungs), dtype=torch.int64, device=x.device)
        self.seconds = torch.zeros(len(x), 2 + len(rungs), dtype=torch.float64)
        self.missed = torch.full((len(x), 2 + len(rungs)), torch.nan, device=x.device)
        self.taken = torch.zeros(len(x), 2 + len(rungs), dtype=torch.uint8, device=x.device)
        self.spared = any(not rung.attack.gradients for rung in rungs)  # somebody can do without gradients
        self.oracle = Oracle(fast, len(x), x.device, self.exact)
        opening = [self._opened(problem.take(at), at) for at in self._passes(torch.ones_like(problem.slot).bool())]
        rows = Problem.join([part for part, _ in opening])
        self.taken[:, 0] = TAKEN
        self.problem = replace(problem, goal=rows.goal, clean=rows.clean)
        self.found = Outcome.join([outcome for _, outcome in opening])
        self.broken_by = torch.full_like(problem.slot, ROBUST).where(~self.found.success, CLEAN)
        assert rows.clean is not None
        self.past = Past.none(problem, rows.clean, rungs)
        self.oracle.looks = LOOKS if model.eot > 1 else 1

    def climbed(self, number: int) -> bool:
        """Take the rows that the rung of that number asks for; whether there were any."""
        rung = self.rungs[number - 1]
        own = self.view is None or rung.seen == "own"
        if own and rung.seen == "understood":
            return False
        if rung.doubted:
            self._examine()
        chosen = self._passes(~self.found.success & self.past.chosen(rung, self.rungs, own, self.roughness))
        for at in chosen:
            self._attacked(at, number, rung, own)
        return bool(chosen)

    def ended(self, individual: bool) -> Block:
        """What came of it all."""
        if self.model.eot > 1:
            self._look_last()
        self._examine()
        single, cost = self._each_alone(self.rungs if individual else ())
        found, problem, clean = self.found, self.problem, self.problem.clean
        assert clean is not None
        assert problem.label is not None
        return Block(
            x=found.x,
            broken_by=self.broken_by,
            correct=clean.argmax(1) == problem.label,
            taken=self.taken,
            distance=found.distance,
            forwards=self.counts[0],
            backwards=self.counts[1],
            zero_gradients=self.counts[2],
            seconds=self.seconds,
            probabilities=torch.full_like(found.success, self.oracle.probabilities),
            evidence=self.past.evidence.where(~found.success[:, None], torch.nan),  # of what still stands
            missed=self.missed,
            index=problem.index,
            y=problem.label,
            single=single,
            single_cost=cost,
        ).to("cpu")

    def _opened(self, rows: Problem, at: Tensor) -> tuple[Problem, Outcome]:
        clock = time.perf_counter()
        self.oracle.recount(len(at))
        opening = opened(entered(rows, ""), self.oracle)
        self._note(at, 0, clock, self.oracle)
        return opening

    def _attacked(self, at: Tensor, number: int, rung: Rung, own: bool) -> None:
        clock, oracle = time.perf_counter(), self.oracle
        before = self.past.take(at)
        rows = before.posed(entered(self.problem.take(at), rung.name), rung)
        oracle.nearness = before.first
        tried, absent = self._tried(rows, rung, own)
        after = before.after(rung, self.rungs, oracle, own, absent)
        oracle.nearness = None
        self.past = self.past.put(at, after)
        missed = after.nearness.missed
        self.missed[at, number] = missed.where(missed.isfinite(), torch.nan).to(self.missed)
        blind, looked = (oracle.spoilt | absent) & ~tried.success, oracle.forwards > 0
        self.taken[at, number] = torch.where(blind, BLIND, torch.where(looked, TAKEN, UNTAKEN)).to(self.taken)
        self._note(at, number, clock, oracle)
        won = tried.success.nonzero().squeeze(1)
        self.found = self.found.put(at[won], tried.take(won))
        self.broken_by = self.broken_by.index_fill(0, at[won], number)

    def _tried(self, rows: Problem, rung: Rung, own: bool) -> tuple[Outcome, bool]:
        """What the rung's attack finds, through the network's own gradient or the view; and whether there is no
        gradient, where another rung needs none."""
        oracle, search = self.oracle, self.fast if own or self.view is None else self.view
        oracle.recount(len(rows.x), rung.view(search), None if self.exact is None else rung.view(self.exact))
        oracle.lenient = self.spared
        try:
            with nullcontext() if own else oracle.model.quiet():
                return verified(rows, oracle, rung.attack.run(rows, oracle)), False
        except NoGradient:
            if not self.spared:
                raise
            return Outcome.none(rows), True

    def _each_alone(self, rungs: Sequence[Rung]) -> tuple[Tensor, Tensor]:
        """(N, rungs) bool, what each rung breaks alone; (N, rungs, 3) what it cost on rows that it had not taken.

        A rung without rules does the same to a row whoever else took it, so only the others are tried.
        """
        single = torch.zeros(len(self.broken_by), len(rungs), dtype=torch.bool, device=self.broken_by.device)
        cost = torch.zeros(len(self.seconds), len(rungs), 3, dtype=torch.float64)
        for number, rung in enumerate(rungs, start=1):
            single[:, number - 1] = self.broken_by == number
            own = self.view is None or rung.seen == "own"
            if own and rung.seen == "understood":
                continue
            for at in self._passes((self.broken_by != CLEAN) & (self.taken[:, number] == UNTAKEN)):
                clock, rows = time.perf_counter(), self.problem.take(at)
                tried, _ = self._tried(entered(rows, rung.name), rung, own)
                forwards, backwards, fell = self.oracle.forwards, self.oracle.backwards, tried.success
                if self.model.eot > 1:
                    fell = fell & self._held(rows, tried.x)
                    forwards = forwards + self.oracle.forwards
                seconds = torch.full((len(at),), since(clock) / len(at))
                single[at, number - 1] = fell
                cost[at.cpu(), number - 1] = torch.stack([forwards.cpu(), backwards.cpu(), seconds], dim=1).double()
        return single, cost

    def _examine(self) -> None:
        """Ask the rows that still stand for evidence, where nobody did."""
        unasked = ~self.found.success & Evidence(*self.past.evidence.unbind(1)).absent.isnan()
        for at in self._passes(unasked) if bool(self.problem.region.radius.isfinite().all()) else ():
            clock = time.perf_counter()
            answers, asked = probe(self.problem.take(at), self.model)
            self.past = replace(self.past, evidence=self.past.evidence.index_copy(0, at, answers.columns))
            self._note(at, -1, clock, asked)

    def _look_last(self) -> None:
        """Decide, by draws that nobody chose, which rows have fallen: to what was found, or to the closest look. The
        rung that such a row falls to is the last that it took."""
        near = self.past.nearness
        x = torch.where(column(self.found.success, near.x), self.found.x, near.x)
        claimed = (self.broken_by > CLEAN) | (~self.found.success & (near.margin > 0))
        last = (self.taken[:, :-1] != UNTAKEN).long().mul(torch.arange(len(self.rungs) + 1, device=x.device)).amax(1)
        for at in self._passes(claimed):
            clock, rows = time.perf_counter(), self.problem.take(at)
            fell = self._held(rows, x[at])
            told = Outcome.none(rows)
            told = replace(told, x=x[at], success=fell, distance=rows.region.distance(x[at])).where(fell, told)
            self.found = self.found.put(at, told)
            by = torch.where(self.broken_by[at] > CLEAN, self.broken_by[at], last[at])
            self.broken_by = self.broken_by.index_copy(0, at, by.where(fell, ROBUST))
            self._note(at, -1, clock, self.oracle)

    def _held(self, rows: Problem, x: Tensor) -> Tensor:
        """(M,) bool: the random network errs at x by draws that nobody chose."""
        self.oracle.recount(len(x), self.model.seen_by(eot=max(LAST, self.model.eot)))
        rows = entered(rows, "last look")
        return rows.goal.reached(self.oracle.logits(rows, x)) & rows.region.contains(x)

    def _passes(self, chosen: Tensor) -> list[Tensor]:
        return [at for at in torch.split(chosen.nonzero().squeeze(1), self.size) if len(at)]

    def _note(self, at: Tensor, number: int, clock: float, oracle: Oracle) -> None:
        self.counts[:, at, number] += torch.stack([oracle.forwards, oracle.backwards, oracle.zero_gradients])
        self.seconds[at.cpu(), number] += since(clock) / len(at)

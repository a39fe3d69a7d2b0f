"""The model under audit: the examples it gets right, what plain PGD leaves standing, and a count of every pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sparring.attacks.attack import Attack, chunks, entered
from sparring.attacks.pgd import PGD
from sparring.errors import NoGradient
from sparring.model import Model
from sparring.oracle import Oracle
from sparring.problem import Objective, Problem, Seen

NAIVE = PGD(steps=20)
DRAWS = 64  # of a randomised model, where protocols say thousands
SAMPLE = 64  # examples for the checks of single gradients


def eager(model: Model) -> Model:
    """The model around the network that torch.compile was given: what is compiled may pass over hooks."""
    net = getattr(model.net, "_orig_mod", None)
    if net is None:
        return model
    bpda = {name.removeprefix("_orig_mod").removeprefix("."): one for name, one in model.bpda.items()}
    plain = Model(net, model.bounds, model.mean, model.std)
    return plain.seen_by(mode=model.mode, eot=model.eot, bpda=bpda, gradients=model.gradients)


@dataclass
class Subject:
    """What the checks ask and add to. Only `standing` and the counts change."""

    model: Model
    problem: Problem  # the examples the model gets right
    batch_size: int | None = None
    random: bool = False  # two looks at one input differ
    naive: Tensor = field(init=False)  # (N,) bool: plain PGD left it standing
    standing: Tensor = field(init=False)  # (N,) bool: so did everything else
    forwards: int = 0
    backwards: int = 0
    recommended: str = ""
    refused: str = ""  # why an attack on the model's own gradient could not run

    def __post_init__(self) -> None:
        self.naive = self.standing = torch.ones_like(self.problem.slot, dtype=torch.bool)

    def __len__(self) -> int:
        return len(self.problem.x)

    @property
    def judge(self) -> Model:
        """Who says whether an example fell: of a randomised model the mean over many draws."""
        return self.model.seen_by(eot=max(DRAWS, self.model.eot)) if self.random else self.model

    @property
    def sample(self) -> Problem:
        """The first few of the examples, for the checks of single gradients."""
        return self.first(SAMPLE)

    def first(self, count: int) -> Problem:
        """So many of the examples, or all."""
        return self.problem.take(torch.arange(min(count, len(self)), device=self.problem.x.device))

    def ask(self, name: str, rows: Problem, view: Model, question: Callable[[Oracle, Problem], Tensor]) -> Tensor:
        """`question` of the rows, a batch at a time, joined; every pass is counted."""
        return torch.cat([self._part(name, part, view, question) for part in chunks(rows, self.batch_size)])

    def _part(self, name: str, rows: Problem, view: Model, question: Callable[[Oracle, Problem], Tensor]) -> Tensor:
        rows = entered(rows, name)
        oracle = Oracle(view, len(rows.x), rows.x.device)
        try:
            return question(oracle, rows)
        finally:
            self.forwards += int(oracle.forwards.sum())
            self.backwards += int(oracle.backwards.sum())

    def logits(self, name: str, rows: Problem, x: Tensor, view: Model | None = None) -> Tensor:
        """(N, K) logits at x, on draws of their own."""
        rows = replace(rows, x=x)
        return self.ask(name, rows, view or self.model, lambda oracle, part: oracle.logits(part, part.x))

    def gradient(self, name: str, rows: Problem, objective: Objective) -> Seen:
        """Logits, score and gradient at the examples."""
        seen: list[Seen] = []

        def look(oracle: Oracle, part: Problem) -> Tensor:
            seen.append(oracle.gradient(part, part.x, objective))
            return part.slot

        self.ask(name, rows, self.model, look)
        return Seen.join(seen)

    def fall(
        self, name: str, attack: Attack, rows: Tensor, view: Model | None = None, everywhere: bool = False
    ) -> Tensor:
        """(N,) bool: the examples among `rows` (N,) bool that the attack breaks, confirmed by the judge.

        A model without gradients, or with ones that are not finite, is broken nowhere, and `refused`. everywhere: the
        radius is what the input range allows.
        """
        broken = torch.zeros_like(rows)
        at = rows.nonzero().squeeze(1)
        if not len(at):
            return broken
        problem = self.problem.take(at)
        problem = replace(problem, draws=problem.draws.at(name), slot=torch.arange(len(at), device=at.device))
        if everywhere:
            problem = replace(problem, region=problem.region.resized(problem.region.farthest()))
        try:
            found = replace(attack, batch_size=self.batch_size).on(view or self.model, problem)
        except NoGradient as error:
            self.refused = self.refused or str(error) if view is None else self.refused
            return broken
        self.forwards += int(found.forwards.sum())
        self.backwards += int(found.backwards.sum())
        fell = found.success
        if self.random and bool(fell.any()):
            claims = problem.take(fell)
            held = claims.goal.reached(self.logits(f"{name} judged", claims, found.x[fell], self.judge))
            fell = fell.index_copy(0, fell.nonzero().squeeze(1), held)  # a lucky draw is no success
        return broken.index_copy(0, at, fell)

    def share(self, rows: Tensor) -> float:
        """Of all the examples audited."""
        return float(rows.double().mean()) if len(rows) else 0.0

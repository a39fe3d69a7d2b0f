"""The one door to a model while attacking: logits and input gradients, counted per example.

Gradients are taken with respect to the input alone, never the parameters; the only sum over examples stands
here, and rows cannot mix in it because the objective is one number a row.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sparring.blame import blaming
from sparring.errors import InputError, ModelError, NoGradient
from sparring.model import Model, mean_logits
from sparring.nearness import Nearness
from sparring.problem import Objective, Problem, Seen, check_classes
from sparring.randomness import looking

_NO_GRADIENT = (
    "the logits do not depend differentiably on the input: there is no input gradient. Remove the .detach(), no_grad() "
    'or NumPy step in the network, stand something smooth in for its layer, sp.Model(net, bpda={"layer": "identity"}), '
    "or use an attack without gradients: sp.Square()"
)


class Oracle:
    """Answers for the rows of one outermost call; only its counts change, and they only grow.

    `look` and `gradient` ask `model`, which searches; `logits` asks the judge: `exact`, where a faster form of the
    network searches in its place. One count holds the passes of both.
    """

    def __init__(self, model: Model, rows: int, device: torch.device, exact: Model | None = None) -> None:
        self.model = model
        self.exact = exact
        self.device = device
        self.classes = 0
        self.probabilities = False
        self.nearness: Nearness | None = None  # kept up to date where somebody set it
        self.looks = 1  # of the judge that a claim must withstand
        self.lenient = False  # True: a gradient that is not finite is taken for zero, and `spoilt` says whose it was
        self.recount(rows)

    def recount(self, rows: int, model: Model | None = None, exact: Model | None = None) -> None:
        """Begin new counts for that many rows, through another view of the model, judged by `exact`, if given; what is
        known stays."""
        if model is not None:
            self.model, self.exact = model, exact
        self.forwards = torch.zeros(rows, dtype=torch.int64, device=self.device)
        self.backwards = torch.zeros_like(self.forwards)
        self.zero_gradients = torch.zeros_like(self.forwards)
        self.spoilt = torch.zeros_like(self.forwards, dtype=torch.bool)

    @property
    def judge(self) -> Model:
        """The model whose word counts."""
        return self.model if self.exact is None else self.exact

    @property
    def coarse(self) -> bool:
        """Whether the search is in another precision than the judge, and so may err either way."""
        return self.exact is not None and self.exact.dtype != self.model.dtype

    def logits(self, problem: Problem, x: Tensor) -> Tensor:
        """(N, K) the judge's logits at x, over fresh draws of a randomised model. Charges one forward a row and draw.

        Raises:
            ModelError: the logits are not finite, or have another shape.
        """
        with torch.no_grad():
            said = mean_logits([self._forward(problem, x, self.exact) for _ in range(self.judge.eot)])
        if self.judge.eot > 1:
            self._note(problem, x, said, luck=True)
        return said

    def look(self, problem: Problem, x: Tensor, objective: Objective) -> Seen:
        """Logits and score at x, without a gradient. Charges one forward a row and draw."""
        with torch.no_grad():
            draws = [self._forward(problem, x) for _ in range(self.model.eot)]
            score = torch.stack([objective(logits, problem.goal) for logits in draws]).mean(0)
        logits = mean_logits(draws)
        self._note(problem, x, logits)
        return Seen(logits, score, torch.zeros_like(x))

    def _note(self, problem: Problem, x: Tensor, logits: Tensor, luck: bool = False) -> None:
        if self.nearness is not None:
            inside = problem.region.contains(x)  # some attacks walk outside of it
            self.nearness = self.nearness.seeing(problem.slot, x.detach(), logits, problem.goal, inside, luck)

    def gradient(self, problem: Problem, x: Tensor, objective: Objective, weight: float = 1.0) -> Seen:
        """Logits, score and weight × the score's gradient at x: the model's own, or what its `gradients` estimates.

        An objective with several scores, (N, M), has as many gradients (N, M, …) from the same forward pass. Charges
        one forward and a backward for each score a row and draw; an estimate charges what it asks for.

        Raises:
            ModelError: as `logits`; or the input has no gradient, or one that is not finite.
        """
        if self.model.gradients is None:
            seen = self._follow(problem, x, objective, weight)
        else:
            seen = self.look(problem, x, objective)
            low, high = self.model.bounds
            asked = [Asked(self, problem, one) for one in _single(objective, seen.score)]
            with looking(problem.draws.at("estimate"), problem.index, problem.slot, self.forwards):
                estimates = [self.model.gradients(x.detach(), high - low, one) for one in asked]
            estimate = estimates[0] if seen.score.ndim == 1 else torch.stack(estimates, dim=1)
            seen = replace(seen, gradient=weight * estimate)
        largest = seen.gradient.flatten(seen.score.ndim).abs().amax(-1)
        if self.lenient:
            seen, largest = self._mended(problem, seen, largest)
        self._finite(problem, x, largest, "input gradient")
        dead = (largest == 0).long().reshape(len(x), -1).sum(1)
        self.zero_gradients.index_add_(0, problem.slot, dead * self.model.eot)  # passes, not means
        self._note(problem, x, seen.logits)
        return seen

    def _mended(self, problem: Problem, seen: Seen, largest: Tensor) -> tuple[Seen, Tensor]:
        """Without what is not finite in gradients whose largest entries are `largest`; only their own rows suffer."""
        fine = largest.isfinite()
        if bool(fine.all()):
            return seen, largest
        self.spoilt[problem.slot[~fine.reshape(len(fine), -1).all(1)]] = True
        where = fine.reshape(*fine.shape, *[1] * (seen.gradient.ndim - fine.ndim))
        return replace(seen, gradient=torch.where(where, seen.gradient, 0)), largest.where(fine, 0)

    def _follow(self, problem: Problem, x: Tensor, objective: Objective, weight: float) -> Seen:
        """By the model's own graph: the mean over its draws."""
        draws = [self._backward(problem, x, objective, weight) for _ in range(self.model.eot)]
        if len(draws) == 1:
            return draws[0]
        score = torch.stack([seen.score for seen in draws]).mean(0)
        gradient = torch.stack([seen.gradient for seen in draws]).mean(0)
        return Seen(mean_logits([seen.logits for seen in draws]), score, gradient)

    def _backward(self, problem: Problem, x: Tensor, objective: Objective, weight: float) -> Seen:
        at = x.detach().requires_grad_(True)
        with torch.enable_grad(), self._looking(problem):
            try:
                logits = self._answer(problem, at)
            except RuntimeError as error:
                if "that requires grad" in str(error):  # what torch says of .numpy() in the middle of a network
                    raise NoGradient(_NO_GRADIENT) from error
                raise
            score = objective(logits, problem.goal)
            if not score.requires_grad:
                raise NoGradient(_NO_GRADIENT)
            scores = (score,) if score.ndim == 1 else score.unbind(1)
            gradients: list[Tensor | None] = []
            for left, one in zip(range(len(scores))[::-1], scores, strict=True):
                out = torch.full_like(one, weight)
                with blaming(lambda: f"the backward pass of {self.model.called(at)}"):
                    gradients += torch.autograd.grad(one, at, out, retain_graph=left > 0, allow_unused=True)
        found = [gradient for gradient in gradients if gradient is not None]
        if len(found) < len(gradients):
            raise NoGradient("the logits do not depend on the input: there is no input gradient to follow")
        self.backwards.index_add_(0, problem.slot, torch.full_like(problem.slot, len(scores)))
        gradient = found[0] if score.ndim == 1 else torch.stack(found, dim=1)
        return Seen(logits.detach(), score.detach(), gradient)

    def _forward(self, problem: Problem, x: Tensor, exact: Model | None = None) -> Tensor:
        with self._looking(problem):
            return self._answer(problem, x) if exact is None else self._heard(problem, x, exact.once(x))

    def _looking(self, problem: Problem) -> AbstractContextManager[None]:
        """A row's clock is the count of its forwards, so that no two looks of it share a draw."""
        return looking(problem.draws, problem.index, problem.slot, self.forwards)

    def _answer(self, problem: Problem, x: Tensor) -> Tensor:
        return self._heard(problem, x, self.model.once(x))

    def _heard(self, problem: Problem, x: Tensor, logits: Tensor) -> Tensor:
        """The logits of one draw, charged and checked."""
        self.forwards.index_add_(0, problem.slot, torch.ones_like(problem.slot))
        self._finite(problem, x, logits.detach(), "logits")
        if not self.classes:
            self.classes = logits.shape[1]
            name = "targets" if problem.goal.targeted else "y"
            check_classes(name, problem.goal.label, self.classes, problem.index)
            self.probabilities = bool(_are_probabilities(logits.detach()).all())
        if self.probabilities:
            logits = logits.clamp_min(torch.finfo(logits.dtype).tiny).log()
        return logits

    def _finite(self, problem: Problem, x: Tensor, values: Tensor, what: str) -> None:
        if math.isfinite(float(values.sum())):
            return  # one number tells, in every step; a sum may overflow where no entry does, so look closer
        fine = torch.isfinite(values)
        if not bool(fine.all()):
            row = int((~fine.reshape(len(fine), -1).all(1)).nonzero()[0])
            value = float(values[row].flatten()[~fine[row].flatten()][0])
            if not bool(x[row].isfinite().all()):
                raise InputError(
                    f"the attack moved example {int(problem.index[row])} to a point that is not finite; its numbers, "
                    "or the radius, are too large: give smaller ones"
                )
            raise (NoGradient if what == "input gradient" else ModelError)(
                f"the {what} of example {int(problem.index[row])} is {value}; nothing can be concluded about "
                "it. Check the network for overflow, log(0) or division by zero, or run it in float32"
            )


@dataclass(frozen=True)
class Asked:
    """What an estimator of gradients may ask about some rows; points outside the input range are moved to its edge.

    An answer is a single draw of a randomised model: the estimator takes the mean of many anyway.
    """

    oracle: Oracle
    problem: Problem
    objective: Objective

    def score(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            logits = self.oracle._forward(self.problem, x.clamp(*self.oracle.model.bounds))
        return self.objective(logits, self.problem.goal)

    def gradient(self, x: Tensor, model: nn.Module | None = None) -> Tensor:
        x = x.clamp(*self.oracle.model.bounds)
        if model is None:
            return self.oracle._backward(self.problem, x, self.objective, 1.0).gradient
        other = Oracle(Model.of(model), 0, self.oracle.device)
        # One count for both: a random surrogate, too, must never meet the same draw twice.
        other.forwards, other.backwards = self.oracle.forwards, self.oracle.backwards
        other.zero_gradients = torch.zeros_like(other.forwards)
        with other.model.quiet():
            return other.gradient(self.problem, x, self.objective).gradient


def _single(objective: Objective, score: Tensor) -> list[Objective]:
    """The objective, or one for each of the several scores it has."""
    if score.ndim == 1:
        return [objective]
    return [lambda logits, goal, at=at: objective(logits, goal)[:, at] for at in range(score.shape[1])]  # type: ignore[misc]


def _are_probabilities(logits: Tensor) -> Tensor:
    return (logits >= 0).all(1) & ((logits.sum(1) - 1).abs() < 1e-4)

"""The one door to a model while attacking: logits and input gradients, counted per example.

Gradients are taken with respect to the input alone, never the parameters; the only sum over examples stands
here, and rows cannot mix in it because the objective is one number a row.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sparring.errors import ModelError
from sparring.model import Model
from sparring.problem import Objective, Problem, Seen, check_classes


class Oracle:
    """Answers for the rows of one outermost call; only its counts change, and they only grow."""

    def __init__(self, model: Model, rows: int, device: torch.device) -> None:
        self.model = model
        self.device = device
        self.classes = 0
        self.probabilities = False
        self.recount(rows)

    def recount(self, rows: int) -> None:
        """Begin new counts for that many rows; what is known of the model stays."""
        self.forwards = torch.zeros(rows, dtype=torch.int64, device=self.device)
        self.backwards = torch.zeros_like(self.forwards)
        self.zero_gradients = torch.zeros_like(self.forwards)

    def logits(self, problem: Problem, x: Tensor) -> Tensor:
        """(N, K) logits at x. Charges one forward a row.

        Raises:
            ModelError: the logits are not finite, or have another shape.
        """
        with torch.no_grad():
            return self._forward(problem, x)

    def look(self, problem: Problem, x: Tensor, objective: Objective) -> Seen:
        """Logits and score at x, without a gradient. Charges one forward a row."""
        logits = self.logits(problem, x)
        return Seen(logits, objective(logits, problem.goal), torch.zeros_like(x))

    def gradient(self, problem: Problem, x: Tensor, objective: Objective, weight: float = 1.0) -> Seen:
        """Logits, score and weight × the score's gradient at x. Charges one forward and one backward a row.

        Raises:
            ModelError: as `logits`; or the input has no gradient, or one that is not finite.
        """
        at = x.detach().requires_grad_(True)
        with torch.enable_grad():
            logits = self._forward(problem, at)
            score = objective(logits, problem.goal)
            if not score.requires_grad:
                raise ModelError(
                    "the logits do not depend differentiably on the input: there is no input gradient. Remove "
                    "the .detach(), no_grad() or NumPy step in the network, or use an attack without gradients"
                )
            (gradient,) = torch.autograd.grad(score, at, grad_outputs=torch.full_like(score, weight), allow_unused=True)
        if gradient is None:
            raise ModelError("the logits do not depend on the input: there is no input gradient to follow")
        self.backwards.index_add_(0, problem.slot, torch.ones_like(problem.slot))
        largest = gradient.flatten(1).abs().amax(1)
        self._finite(problem, largest, "input gradient")
        self.zero_gradients.index_add_(0, problem.slot, (largest == 0).long())
        return Seen(logits.detach(), score.detach(), gradient)

    def _forward(self, problem: Problem, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        self.forwards.index_add_(0, problem.slot, torch.ones_like(problem.slot))
        self._finite(problem, logits.detach(), "logits")
        if not self.classes:
            self.classes = logits.shape[1]
            name = "targets" if problem.goal.targeted else "y"
            check_classes(name, problem.goal.label, self.classes, problem.index)
            self.probabilities = bool(_are_probabilities(logits.detach()).all())
        if self.probabilities:
            logits = logits.clamp_min(torch.finfo(logits.dtype).tiny).log()
        return logits

    def _finite(self, problem: Problem, values: Tensor, what: str) -> None:
        if math.isfinite(float(values.sum())):
            return  # one number tells, in every step; a sum may overflow where no entry does, so look closer
        fine = torch.isfinite(values)
        if not bool(fine.all()):
            row = int((~fine.reshape(len(fine), -1).all(1)).nonzero()[0])
            value = float(values[row].flatten()[~fine[row].flatten()][0])
            raise ModelError(
                f"the {what} of example {int(problem.index[row])} is {value}; nothing can be concluded about "
                "it. Check the network for overflow, log(0) or division by zero, or run it in float32"
            )


def _are_probabilities(logits: Tensor) -> Tensor:
    return (logits >= 0).all(1) & ((logits.sum(1) - 1).abs() < 1e-4)

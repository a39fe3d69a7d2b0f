"""Scores that say less than the logits: rounded, perturbed, or scaled until softmax saturates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from sparring.defenses.masking.transform import Stage, Transform
from sparring.values import Amount, Positive, Range


@dataclass(frozen=True)
class OutputRounding(Transform):
    """Rounds the softmax to so many decimals and returns its logarithm (Tramèr et al. 2016, section 7).

    It promises scores too coarse to follow, and to copy the model from. Its gradient is zero; with the unrounded
    log-probabilities in its place backward (BPDA) a margin climbs. Scores rounded to 0 do not tell which class is the
    nearest, so aim at every class in turn; decisions alone lead there too.
    """

    decimals: Annotated[int, Range(1, 6)] = 2
    promise: ClassVar[str] = "scores too coarse to follow"
    broken_by: ClassVar[str] = (
        "PGD on margins to each class in turn through the true scores (BPDA); decision-based attacks"
    )

    def after(self) -> Rounded:
        return Rounded(self)


class Rounded(Stage[OutputRounding]):
    """Logits (N, K) to the log of rounded probabilities; 0 becomes the smallest number there is."""

    def forward(self, logits: Tensor) -> Tensor:
        scale = 10.0**self.how.decimals
        return _log((logits.softmax(1) * scale).round() / scale)

    def surrogate(self, logits: Tensor) -> Tensor:
        """The log-probabilities."""
        return logits.log_softmax(1)


@dataclass(frozen=True)
class ReverseSigmoid(Transform):
    """Takes beta · (sigmoid(gamma · logit p) - 1/2) from each probability p, and normalises (Lee et al. 2018, eq. 4).

    It promises scores that mislead who copies the model: an improbable class looks more probable than a likelier one.
    So the gradient leads astray too; with the true log-probabilities in its place backward (BPDA) and every class as
    a target in turn, PGD finds its way.
    """

    beta: Amount = 1.0
    gamma: Positive = 0.1
    promise: ClassVar[str] = "scores that mislead who follows or copies them"
    broken_by: ClassVar[str] = (
        "PGD on margins to each class in turn through the true scores (BPDA); decision-based attacks"
    )

    def after(self) -> Reversed:
        return Reversed(self)


class Reversed(Stage[ReverseSigmoid]):
    """Logits (N, K) to the log of perturbed probabilities."""

    def forward(self, logits: Tensor) -> Tensor:
        p = logits.softmax(1)
        eps = torch.finfo(p.dtype).eps
        perturbed = p - self.how.beta * ((self.how.gamma * p.logit(eps)).sigmoid() - 0.5)
        perturbed = perturbed.clamp_min(0)
        return _log(perturbed / perturbed.sum(1, keepdim=True).clamp_min(eps))

    def surrogate(self, logits: Tensor) -> Tensor:
        """The log-probabilities."""
        return logits.log_softmax(1)


@dataclass(frozen=True)
class Temperature(Transform):
    """Divides the logits by a temperature; below 1 it makes every answer a certain one.

    It promises gradients too small to follow: in float32 the softmax saturates and cross-entropy's gradient is exactly
    zero, which is all that defensive distillation does (Carlini & Wagner 2017, section VI). A margin of logits, or
    DLR, has the same direction at any temperature.
    """

    temperature: Positive = 0.01
    promise: ClassVar[str] = "gradients of cross-entropy too small to follow"
    broken_by: ClassVar[str] = "a margin of logits, which no scale changes: PGD(objective='margin'), APGD with DLR, C&W"

    def after(self) -> Scaling:
        return Scaling(self)


class Scaling(Stage[Temperature]):
    """Logits, divided."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits / self.how.temperature


def _log(p: Tensor) -> Tensor:
    return p.clamp_min(torch.finfo(p.dtype).tiny).log()

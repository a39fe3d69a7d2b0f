"""Adversarial weight perturbation (Wu, Xia & Wang 2020, "… helps robust generalization")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from sparring.defenses.adversarial import AdversarialTraining
from sparring.defenses.context import Context
from sparring.defenses.defense import Defense, Learner, check_loss
from sparring.values import Amount, Share


@dataclass(frozen=True)
class AWP(Defense):
    """Learn from a defense's loss where the weights are worst for it, one ascent step away (algorithm 1).

    gamma: each layer w moves by gamma · ||w||, along the gradient of the loss; biases and norms stay. The authors
    use 0.01 with adversarial training, 0.005 with TRADES. warmup: the share of the training without it.
    The attack is run once, at the unmoved weights. The weights come back by copy: (w + v) - v is not w.
    """

    defense: Defense = field(default_factory=AdversarialTraining)
    gamma: Amount = 0.01
    warmup: Share = 0.0
    teaches: ClassVar[bool] = False  # what it wraps may
    promise: ClassVar[str] = "the defense it wraps, with less robust overfitting: one to two points more"
    broken_by: ClassVar[str] = "what breaks the defense it wraps"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_loss(self.defense, "wrapped in AWP")

    @property
    def paced(self) -> bool:  # type: ignore[override]
        return self.warmup > 0

    def loss(self, context: Context) -> Tensor:
        return self.defense.loss(context)

    def learn(self, context: Context, learner: Learner) -> None:
        if context.progress < self.warmup:
            self.defense.learn(context, learner)
            return
        counted = [buffer.clone() for buffer in learner.buffers]
        uphill = learner.gradients(self.loss(context))
        weights = [weight.detach().clone() for weight in learner.weights]
        with torch.no_grad():
            # What the ascent showed BatchNorm is not to be counted twice.
            for buffer, before in zip(learner.buffers, counted, strict=True):
                buffer.copy_(before)
            for weight, slope in zip(learner.weights, uphill, strict=True):
                if weight.ndim > 1:
                    weight.add_(slope * (self.gamma * weight.norm() / slope.norm().clamp_min(1e-20)))
        try:
            learner.backward(self.loss(context.renewed()))
        finally:
            with torch.no_grad():
                for weight, before in zip(learner.weights, weights, strict=True):
                    weight.copy_(before)
        learner.update()

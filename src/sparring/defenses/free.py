"""Free adversarial training (Shafahi et al. 2019, "Adversarial training for free!", algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparring.defenses.context import Context
from sparring.defenses.defense import Defense, Learner
from sparring.errors import ModelError
from sparring.values import Count


@dataclass(frozen=True)
class FreeAT(Defense):
    """Each batch is learned from `replays` times; one backward gives the step of the weights and of the noise.

    The noise stays from batch to batch, by position. An epoch costs `replays` natural ones, so ask for that many
    fewer. The forward is in training mode, for it is the one learned from.
    """

    replays: Count = 4
    attacked: ClassVar[bool] = True
    promise: ClassVar[str] = "robust accuracy inside the threat at the cost of natural training"
    broken_by: ClassVar[str] = "larger radii and other norms; several points below PGD training"

    def loss(self, context: Context) -> Tensor:
        return context.cross_entropy(context.logits(self._start(context)))

    def learn(self, context: Context, learner: Learner) -> None:
        region, at = context.region, self._start(context)
        for _ in range(self.replays):
            learner.backward(context.cross_entropy(context.logits(at)))
            learner.update()
            if at.grad is None:
                raise ModelError("the logits do not depend differentiably on the input: there is no gradient to follow")
            at = region.project(region.moved(at.detach(), at.grad)).requires_grad_(True)
        context.memory["free noise"] = context.gather(at.detach() - context.x)

    def _start(self, context: Context) -> Tensor:
        """The batch with the noise that the last one left, as a leaf."""
        noise = torch.zeros_like(context.x)
        kept = context.memory.get("free noise", noise[:0])[context.place :][: len(noise)].to(noise)
        noise[: len(kept)] = kept
        return context.region.project(context.x + noise).requires_grad_(True)

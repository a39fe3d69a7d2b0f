"""Jacobian regularization (Hoffman, Roberts & Yaida 2019, section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparring.defenses.context import Context, pulled
from sparring.defenses.defense import Defense
from sparring.values import Amount, Count


@dataclass(frozen=True)
class Jacobian(Defense):
    """A penalty: strength / 2 · ||d logits / d input||², Frobenius norm, estimated by random projections."""

    strength: Amount = 0.01
    projections: Count = 1
    teaches: ClassVar[bool] = False
    differentiates: ClassVar[bool] = True
    promise: ClassVar[str] = "logits that change little around the examples: robust to small radii"
    broken_by: ClassVar[str] = "iterative attacks at larger radii"

    def loss(self, context: Context) -> Tensor:
        at = context.sensitive()
        logits = context.logits(at)
        classes = logits.shape[1]
        squares = []
        for step in range(self.projections):
            # K · ||v J||² for v uniform on the sphere has the mean ||J||².
            v = context.draws("jacobian").normal(context.index, step, (classes,), logits.dtype)
            v = torch.nn.functional.normalize(v, dim=1)
            squares.append(classes * pulled(logits, at, v).flatten(1).square().sum(1))
        return self.strength / 2 * torch.stack(squares).mean(0)

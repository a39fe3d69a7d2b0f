"""Input-gradient regularization (Drucker & LeCun 1992; Ross & Doshi-Velez 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sparring.defenses.context import Context
from sparring.defenses.defense import Defense
from sparring.values import Amount


@dataclass(frozen=True)
class InputGradient(Defense):
    """A penalty: strength · ||gradient of cross-entropy by the input||², squared L2 norm, inputs as given."""

    strength: Amount = 1.0
    teaches: ClassVar[bool] = False
    differentiates: ClassVar[bool] = True
    promise: ClassVar[str] = "a loss that is flat around the examples: robust to small radii"
    broken_by: ClassVar[str] = "iterative attacks at larger radii"

    def loss(self, context: Context) -> Tensor:
        return self.strength * context.slope.flatten(1).square().sum(1)

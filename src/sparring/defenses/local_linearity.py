"""Local linearity regularization (Qin et al. 2019, equation 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sparring.defenses.context import Context
from sparring.defenses.defense import Defense
from sparring.rows import column
from sparring.values import Amount, Count


@dataclass(frozen=True)
class LocalLinearity(Defense):
    """A penalty: curved · g + steep · |dᵀ slope|, with g = |l(x + d) - l(x) - dᵀ slope| at the d that `steps` find.

    l is cross-entropy, slope its gradient at x. The search for the d of the largest g runs in evaluation mode.
    """

    curved: Amount = 4.0
    steep: Amount = 3.0
    steps: Count = 2
    teaches: ClassVar[bool] = False
    differentiates: ClassVar[bool] = True
    attacked: ClassVar[bool] = True
    promise: ClassVar[str] = "a loss that is nearly linear inside the threat, where few attack steps tell the truth"
    broken_by: ClassVar[str] = "strong attacks at the full radius; below PGD training at equal cost"

    def loss(self, context: Context) -> Tensor:
        moved = context.once(self, lambda: self.bent(context))
        here, there = (context.cross_entropy(context.logits(x)) for x in (context.sensitive(), moved))
        rise = ((moved - context.x.detach()) * context.slope).flatten(1).sum(1)
        return self.curved * (there - here - rise).abs() + self.steep * rise.abs()

    def bent(self, context: Context) -> Tensor:
        """(N, …) where the loss is found to be farthest from its tangent."""
        region, start = context.region, context.x.detach()
        tangent = context.seen(start)
        x = region.sample(context.draws("local linearity"), context.index, 0)
        for _ in range(self.steps):
            seen = context.seen(x)
            gap = seen.score - tangent.score - ((x - start) * tangent.gradient).flatten(1).sum(1)
            uphill = column(gap.sign(), x) * (seen.gradient - tangent.gradient)
            x = region.project(region.moved(x, uphill, 1.5 / self.steps))
        return x

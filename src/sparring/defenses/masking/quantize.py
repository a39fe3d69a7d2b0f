"""Bit-depth reduction (Xu, Evans & Qi 2018, "Feature squeezing", section II-A; Guo et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from sparring.defenses.masking.transform import Stage, Transform
from sparring.substitution import identity
from sparring.values import Range


@dataclass(frozen=True)
class Quantize(Transform):
    """Rounds every input value to 2^bits levels, evenly spaced from bound to bound.

    It promises to squeeze small perturbations out. Its gradient is zero wherever it exists, so plain PGD stands still;
    with the identity in its place backward (BPDA, Athalye et al. 2018) nothing is left of it but the radius that
    rounding absorbs: half a level, 1 / (2^(bits + 1) - 2) of the range.
    """

    bits: Annotated[int, Range(1, 16)] = 3
    promise: ClassVar[str] = "small perturbations are rounded away"
    broken_by: ClassVar[str] = "PGD through the identity instead of the rounding (BPDA)"

    def before(self, bounds: tuple[float, float]) -> Rounding:
        return Rounding(self, bounds)


class Rounding(Stage[Quantize]):
    """Inputs to the nearest of 2^bits levels."""

    surrogate = staticmethod(identity)

    def forward(self, x: Tensor) -> Tensor:
        steps = 2**self.how.bits - 1
        return self.scaled((self.unit(x) * steps).round() / steps)

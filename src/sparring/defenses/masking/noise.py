"""Noise: on the inputs (Cohen, Rosenfeld & Kolter 2019, unsmoothed), or on the gradients alone (Lee et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparring.defenses.masking.transform import Stage, Transform
from sparring.randomness import normal
from sparring.substitution import identity
from sparring.values import Positive


@dataclass(frozen=True)
class GaussianNoise(Transform):
    """Adds sigma · N(0, 1) to every input value, new noise each time; sigma is a share of the input range.

    It promises that a perturbation drowns in the noise. The gradient of a draw is honest, and its mean over draws (EOT)
    is what PGD needs. Robust are networks trained on noise and smoothed over many draws, which this alone is not.
    """

    sigma: Positive = 0.1
    promise: ClassVar[str] = "small perturbations drown in noise"
    broken_by: ClassVar[str] = "PGD on gradients averaged over draws (EOT)"
    random: ClassVar[bool] = True

    def before(self, bounds: tuple[float, float]) -> Noisy:
        return Noisy(self, bounds)


class Noisy(Stage[GaussianNoise]):
    """Inputs plus noise."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.how.sigma * self.width * normal(x)


@dataclass(frozen=True)
class GradientNoise(Transform):
    """Adds noise to the input gradient alone, sigma times as large as the gradient; what the model says stays as it is.

    It promises gradients that lead nowhere. Whoever holds the weights takes the gradient without the noise, so the
    model is exactly as robust as it was; attacks that ask for scores or decisions never meet the noise at all.
    """

    sigma: Positive = 30.0
    promise: ClassVar[str] = "gradients that lead nowhere"
    broken_by: ClassVar[str] = "PGD on the gradient without the noise (BPDA): the model itself is unchanged"

    def before(self, bounds: tuple[float, float]) -> NoisyGradient:
        return NoisyGradient(self, bounds)


class NoisyGradient(Stage[GradientNoise]):
    """The identity, but for its gradient."""

    surrogate = staticmethod(identity)

    def forward(self, x: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and x.requires_grad):
            return x
        # Drawn here and not backward: on an accelerator that runs in another thread, where no look is published.
        noise: Tensor = _Noised.apply(x, self.how.sigma * normal(x))  # type: ignore[no-untyped-call]
        return noise


class _Noised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, noise: Tensor) -> Tensor:
        ctx.save_for_backward(noise)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None]:
        (noise,) = ctx.saved_tensors
        size = above[0].flatten(1).square().mean(1).sqrt()
        return above[0] + noise * size.reshape(-1, *[1] * (noise.ndim - 1)), None

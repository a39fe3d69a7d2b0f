"""Spatial smoothing: the median (Xu, Evans & Qi 2018, section II-B) and total variation (Guo et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from sparring.defenses.masking.transform import Stage, Transform
from sparring.errors import InputError
from sparring.values import Count, Positive, Range


@dataclass(frozen=True)
class MedianSmoothing(Transform):
    """The median of the size × size neighbourhood of each pixel, images mirrored at their edge; size is odd.

    It promises to remove single pixels that stand out, against sparse attacks. The gradient of the median is that of
    one pixel of many, and right almost everywhere: PGD goes through it.
    """

    size: Annotated[int, Range(3)] = 3
    promise: ClassVar[str] = "pixels that stand out are removed"
    broken_by: ClassVar[str] = "PGD through its own gradient"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % 2 == 0:
            raise InputError(
                f"MedianSmoothing has size={self.size}; give an odd number, so that each pixel is a middle"
            )

    def before(self, bounds: tuple[float, float]) -> Median:
        return Median(self, bounds)


class Median(Stage[MedianSmoothing]):
    """Images (N, C, H, W) to the medians of their neighbourhoods."""

    def forward(self, x: Tensor) -> Tensor:
        self.images(x)
        size, margin = self.how.size, self.how.size // 2
        if margin >= min(x.shape[2:]):
            raise InputError(f"{self.how!r} is too large for images of {tuple(x.shape[2:])}; give a smaller size")
        padded = functional.pad(x, (margin,) * 4, mode="reflect")
        return padded.unfold(2, size, 1).unfold(3, size, 1).flatten(4).median(4).values


@dataclass(frozen=True)
class TVSmoothing(Transform):
    """The image of least total variation near x: Rudin, Osher & Fatemi's model by Chambolle's (2004) projection.

    It minimises TV(u) + |u - x|² / (2 · weight) in each channel, inputs scaled to [0, 1], in `steps` steps of 1/4.
    Guo et al. also drop pixels at random first, which this does not. It promises to smooth perturbations out, and has
    no gradient. Backward (BPDA) its own steps stand in for it, which can be differentiated and find more than the
    identity that Athalye et al. (2018) take. On images of two values, such as MNIST's, some of what is left is real.
    """

    weight: Positive = 0.1
    steps: Count = 30
    promise: ClassVar[str] = "perturbations that look like noise are smoothed out"
    broken_by: ClassVar[str] = "PGD through the smoothing's own steps (BPDA)"

    def before(self, bounds: tuple[float, float]) -> Variation:
        return Variation(self, bounds)


class Variation(Stage[TVSmoothing]):
    """Images (N, C, H, W) to the dual solution of the ROF model, u = x - weight · div p."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        self.images(x)
        return self.surrogate(x)

    def surrogate(self, x: Tensor) -> Tensor:
        """The same steps, with the slope they have."""
        image, weight = self.unit(x), self.how.weight
        down, right = torch.zeros_like(image), torch.zeros_like(image)
        for _ in range(self.how.steps):
            slope_down, slope_right = _slopes(_divergence(down, right) - image / weight)
            # The root has no slope at 0, where the image is flat.
            shrink = 1 + (slope_down.square() + slope_right.square()).clamp_min(1e-12).sqrt() / 4
            down, right = (down + slope_down / 4) / shrink, (right + slope_right / 4) / shrink
        return self.scaled(image - weight * _divergence(down, right))


def _slopes(u: Tensor) -> tuple[Tensor, Tensor]:
    """Differences to the pixel below and to the right; 0 at the edge."""
    return functional.pad(u.diff(dim=2), (0, 0, 0, 1)), functional.pad(u.diff(dim=3), (0, 1))


def _divergence(down: Tensor, right: Tensor) -> Tensor:
    """Minus the adjoint of the slopes, for fields that are 0 where those are."""
    padded = functional.pad(down, (0, 0, 1, 0)), functional.pad(right, (1, 0))
    return padded[0].diff(dim=2) + padded[1].diff(dim=3)

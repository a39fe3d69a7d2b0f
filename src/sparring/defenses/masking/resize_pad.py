"""Random resizing and padding (Xie et al. 2018, "Mitigating adversarial effects through randomization")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from sparring.defenses.masking.transform import Stage, Transform
from sparring.randomness import uniform
from sparring.values import PositiveShare


@dataclass(frozen=True)
class ResizePad(Transform):
    """Shrinks each image to a random share of its size, from `smallest` to 1, and puts it at a random place.

    What is left free is the low bound; the image keeps its size. It promises that a perturbation found for one draw
    fails on the next. The gradient of a draw is honest, and its mean over draws (EOT) is what PGD needs
    (Athalye et al. 2018, section 5.3).
    """

    smallest: PositiveShare = 0.9
    promise: ClassVar[str] = "a perturbation does not survive being resized and moved"
    broken_by: ClassVar[str] = "PGD on gradients averaged over draws (EOT)"
    random: ClassVar[bool] = True

    def before(self, bounds: tuple[float, float]) -> Resizing:
        return Resizing(self, bounds)


class Resizing(Stage[ResizePad]):
    """Images (N, C, H, W), each drawn at a size and a place of its own, bilinearly."""

    def forward(self, x: Tensor) -> Tensor:
        self.images(x)
        size, across, down = uniform(x, (3,)).unbind(1)
        share = self.how.smallest + (1 - self.how.smallest) * size
        # From a place in the output, in [-1, 1], to the place in the input that is seen there.
        theta = x.new_zeros(len(x), 2, 3)
        theta[:, 0, 0] = theta[:, 1, 1] = 1 / share
        theta[:, :, 2] = (1 - 2 * torch.stack([across, down], 1)) * ((1 - share) / share)[:, None]
        grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
        return self.low + functional.grid_sample(x - self.low, grid, align_corners=False)

"""JPEG compression as a defense (Dziugaite, Ghahramani & Roy 2016; Guo et al. 2018)."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sparring.defenses.masking.transform import Stage, Transform
from sparring.errors import InputError
from sparring.substitution import identity
from sparring.values import Range


@dataclass(frozen=True)
class JPEG(Transform):
    """Encodes and decodes every image as a JPEG file of that quality, 1 to 95; images have 1 or 3 channels.

    It promises to drop what the eye does not see. There is no gradient through it at all; with the identity in its
    place backward (BPDA) Athalye et al. (2018, section 5.2) bring it to 0 %.
    """

    quality: Annotated[int, Range(1, 95)] = 75
    promise: ClassVar[str] = "small perturbations are compressed away"
    broken_by: ClassVar[str] = "PGD through the identity instead of the compression (BPDA)"

    def before(self, bounds: tuple[float, float]) -> Compression:
        return Compression(self, bounds)


class Compression(Stage[JPEG]):
    """Images (N, 1 or 3, H, W) through a JPEG file each."""

    surrogate = staticmethod(identity)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        self.images(x)
        if x.shape[1] not in (1, 3):
            raise InputError(f"{self.how!r} takes images of 1 or 3 channels, and x has shape {tuple(x.shape)}")
        pixels = (self.unit(x.detach()) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        recoded = np.stack([self._recoded(image) for image in pixels]) if len(pixels) else pixels
        unit = torch.from_numpy(recoded).to(x.device).permute(0, 3, 1, 2).to(x.dtype) / 255
        return self.scaled(unit).contiguous()

    def _recoded(self, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        file = io.BytesIO()
        Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, "JPEG", quality=self.how.quality)
        return np.asarray(Image.open(file)).reshape(image.shape)

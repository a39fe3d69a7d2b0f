"""Foreign fronts: input transformations in plain torch, NumPy and Pillow, of which sparring is told nothing.

They stand for what a user brings: rounding, compression, smoothing, noise, and backward passes that lie.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional


class Round(nn.Module):
    """Bit depth reduction (Xu et al. 2018); the gradient of rounding is zero everywhere."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.levels = 2**bits - 1

    def forward(self, x: Tensor) -> Tensor:
        rounded: Tensor = torch.round(x * self.levels) / self.levels
        return rounded


class StraightThrough(Round):
    """The same with the identity backward (Bengio et al. 2013): an honest gradient of a rounded input."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (super().forward(x) - x).detach()


class PillowJpeg(nn.Module):
    """JPEG by Pillow (Guo et al. 2018): no gradient at all."""

    def __init__(self, quality: int = 50) -> None:
        super().__init__()
        self.quality = quality

    def forward(self, x: Tensor) -> Tensor:
        pixels = (x.detach().cpu().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
        return torch.from_numpy(np.stack([self._one(image) for image in pixels])).to(x).permute(0, 3, 1, 2) / 255

    def _one(self, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        memory = io.BytesIO()
        grey = image.shape[2] == 1
        Image.fromarray(image[:, :, 0] if grey else image).save(memory, "JPEG", quality=self.quality)
        read = np.asarray(Image.open(memory), dtype=np.float32)
        return read[:, :, None] if grey else read


class NumpyTotalVariation(nn.Module):
    """Total variation denoising by subgradient steps in NumPy (Guo et al. 2018): no gradient at all."""

    def __init__(self, weight: float = 0.05, steps: int = 20) -> None:
        super().__init__()
        self.weight, self.steps = weight, steps

    def forward(self, x: Tensor) -> Tensor:
        noisy = x.detach().cpu().numpy().astype(np.float64)
        clean = noisy.copy()
        for _ in range(self.steps):
            slope = clean - noisy
            for axis in (2, 3):
                rise = np.diff(clean, axis=axis)
                rise = rise / np.sqrt(rise**2 + 1e-4)
                before, after = [(0, 0)] * 4, [(0, 0)] * 4
                before[axis], after[axis] = (1, 0), (0, 1)
                slope = slope + self.weight * (np.pad(rise, before) - np.pad(rise, after))
            clean = clean - 0.3 * slope
        return torch.from_numpy(clean).to(x)


class Thermometer(nn.Module):
    """Thermometer codes (Buckman et al. 2018): one channel a level, 1 where the pixel is above it."""

    levels: Tensor

    def __init__(self, count: int = 10) -> None:
        super().__init__()
        self.register_buffer("levels", (torch.arange(count) / count).reshape(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        bits: Tensor = (x > self.levels).to(x.dtype)
        return bits

    def soft(self, x: Tensor) -> Tensor:
        """What an attacker differentiates instead: each step a ramp of three levels' width."""
        return ((x - self.levels) * self.levels.shape[1] / 3 + 0.5).clamp(0, 1)


class MedianRound(nn.Module):
    """A 3x3 median, then rounding (feature squeezing's chain, Xu et al. 2018)."""

    def __init__(self, bits: int = 3) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, x: Tensor) -> Tensor:
        window = functional.unfold(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3)
        middle = window.reshape(len(x), x.shape[1], 9, -1).median(2).values.reshape(x.shape)
        rounded: Tensor = Round(self.bits)(middle)
        return rounded


class Blur(nn.Module):
    """A small Gaussian blur, a channel at a time; smooth, and its gradient is honest."""

    kernel: Tensor

    def __init__(self, sigma: float = 0.6) -> None:
        super().__init__()
        line = torch.exp(-(torch.arange(-1.0, 2.0) ** 2) / (2 * sigma**2))
        square = line[:, None] * line
        self.register_buffer("kernel", (square / square.sum()).reshape(1, 1, 3, 3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        return functional.conv2d(padded, self.kernel.expand(x.shape[1], -1, -1, -1), groups=x.shape[1])


class BlurRound(Blur):
    """Blur, then rounding, as one step."""

    def forward(self, x: Tensor) -> Tensor:
        rounded: Tensor = Round(3)(super().forward(x))
        return rounded


class Dither(nn.Module):
    """Rounding at random thresholds: random and without gradient."""

    def __init__(self, bits: int = 2) -> None:
        super().__init__()
        self.levels = 2**bits - 1

    def forward(self, x: Tensor) -> Tensor:
        rounded: Tensor = torch.floor(x * self.levels + torch.rand_like(x)) / self.levels
        return rounded


class Noise(nn.Module):
    """Gaussian noise on the input, also while testing."""

    def __init__(self, sigma: float = 0.2) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sigma * torch.randn_like(x)


class PixelDropout(nn.Module):
    """Drops pixels at random, also while testing."""

    def __init__(self, share: float = 0.3) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rand_like(x) >= self.share)


class ResizePad(nn.Module):
    """Random size, random place (Xie et al. 2018), on a canvas of `size`."""

    def __init__(self, size: int = 12) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        edge = int(torch.randint(x.shape[2] - 1, self.size + 1, ()))
        left, top = (int(torch.randint(0, self.size - edge + 1, ())) for _ in range(2))
        x = functional.interpolate(x, size=(edge, edge), mode="bilinear", align_corners=False)
        return functional.pad(x, (left, self.size - edge - left, top, self.size - edge - top))


class Steep(nn.Module):
    """A very steep sigmoid, almost a threshold: the input is binarised, the gradient is nearly nowhere."""

    def __init__(self, slope: float = 200.0) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.slope * (x - 0.5))


class Ripple(nn.Module):
    """Adds waves too small to matter and too steep to follow: an exact gradient that says nothing."""

    def __init__(self, height: float = 0.004, frequency: float = 5000.0) -> None:
        super().__init__()
        self.height, self.frequency = height, frequency

    def forward(self, x: Tensor) -> Tensor:
        return x + self.height * torch.sin(self.frequency * x)


class HookNoise(nn.Module):
    """Noise added to the gradient by a tensor hook; the forward pass is untouched."""

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        out = x * 1.0
        if out.requires_grad:
            out.register_hook(self._noised)  # type: ignore[no-untyped-call]
        return out

    def _noised(self, g: Tensor) -> Tensor:
        return g + self.scale * g.square().mean().sqrt() * torch.randn_like(g)


class NoisyBackward(nn.Module):
    """The same by an autograd function."""

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _NoisyBackward.apply(x, self.scale)  # type: ignore[no-untyped-call]
        return out


class _NoisyBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None]:
        g = above[0]
        return g + ctx.scale * g.square().mean().sqrt() * torch.randn_like(g), None


class Flipped(nn.Module):
    """The gradient of every second pixel has the wrong sign."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _Flipped.apply(x)  # type: ignore[no-untyped-call]
        return out


class _Flipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> Tensor:
        rows, columns = above[0].shape[-2:]
        board = (torch.arange(rows)[:, None] + torch.arange(columns)) % 2
        return above[0] * (1 - 2 * board.to(above[0]))


class Center(nn.Module):
    """Normalisation inside the network: honest."""

    def __init__(self, mean: float = 0.3, std: float = 0.35) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

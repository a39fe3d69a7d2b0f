"""Pre-activation residual networks for small images, the usual ones of the adversarial-training literature.

He et al. 2016, "Identity mappings in deep residual networks"; Zagoruyko & Komodakis 2016, "Wide residual networks".
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sparring.errors import InputError
from sparring.zoo.small import require_positive


class PreActBlock(nn.Module):
    """x + conv(relu(bn(conv(relu(bn(x)))))): (N, width_in, H, W) to (N, width, H / stride, W / stride), rounded up.

    Where width or resolution change, a 1x1 convolution takes the place of x, applied to relu(bn(x)).
    """

    def __init__(self, width_in: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        changes = stride != 1 or width_in != width
        self.shortcut = nn.Conv2d(width_in, width, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = self.norm1(x).relu()
        carried = x if self.shortcut is None else self.shortcut(active)
        moved: Tensor = self.conv2(self.norm2(self.conv1(active)).relu())
        return moved + carried


class _Residual(nn.Module):
    """A 3x3 stem, stages of blocks, a last BN-ReLU, the mean over all pixels, a linear head.

    All stages but the first halve the resolution. Convolutions start as in He et al. 2015 (fan-out), the head's
    bias at 0.
    """

    def __init__(self, stem: int, stages: Sequence[tuple[int, int]], in_channels: int, classes: int) -> None:
        """`stages` are (width, number of blocks)."""
        super().__init__()
        self.stem = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
        blocks, width_in = list[nn.Module](), stem
        for stage, (width, count) in enumerate(stages):
            for block in range(count):
                blocks.append(PreActBlock(width_in, width, stride=2 if stage > 0 and block == 0 else 1))
                width_in = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(width_in)
        self.head = nn.Linear(width_in, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.norm(self.blocks(self.stem(x))).relu()
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits


class PreActResNet(_Residual):
    """Pre-activation ResNet, 18 layers by default: (N, in_channels, H, W) in [0, 1] to (N, classes).

    `blocks` in each stage; the first is `width` wide, and each further one twice as wide at half the resolution.
    The stem keeps the resolution, for images of about 32x32. There is a BN-ReLU before the head, as in the paper:
    with it the default network has 11,172,170 parameters, and the variant without has 11,171,146.

    Raises InputError when an argument is not positive, or there is no stage.
    """

    def __init__(
        self, blocks: Sequence[int] = (2, 2, 2, 2), width: int = 64, in_channels: int = 3, classes: int = 10
    ) -> None:
        require_positive(blocks=min(blocks, default=0), width=width, in_channels=in_channels, classes=classes)
        stages = [(width * 2**stage, count) for stage, count in enumerate(blocks)]
        super().__init__(width, stages, in_channels, classes)


class WideResNet(_Residual):
    """WRN-depth-widen without dropout: (N, in_channels, H, W) in [0, 1] to (N, classes).

    Three stages of (depth - 4) / 6 blocks, 16, 32 and 64 times `widen` wide. WRN-28-10 has 36,479,194 parameters,
    WRN-34-10 has 46,160,474.

    Raises InputError when an argument is not positive, or `depth` is not 6n + 4 with n at least 1.
    """

    def __init__(self, depth: int = 28, widen: int = 10, in_channels: int = 3, classes: int = 10) -> None:
        require_positive(widen=widen, in_channels=in_channels, classes=classes)
        count, rest = divmod(depth - 4, 6)
        if count < 1 or rest:
            raise InputError(f"depth={depth} does not divide into three stages: use 6n + 4, as in 10, 16, 28 or 34")
        super().__init__(16, [(16 * widen, count), (32 * widen, count), (64 * widen, count)], in_channels, classes)


class SmallResNet(nn.Module):
    """A residual network that a processor can train: two convolutions bring (N, in_channels, 32, 32) to 8x8.

    A 4x4 convolution of `stem` channels and stride 2, a 3x3 one of `width` channels and stride 2, `blocks` of
    pre-activation blocks at that resolution, the mean over each quarter of the image, a linear head.

    Raises InputError when an argument is not positive.
    """

    def __init__(
        self, stem: int = 48, width: int = 128, blocks: int = 2, in_channels: int = 3, classes: int = 10
    ) -> None:
        super().__init__()
        require_positive(stem=stem, width=width, blocks=blocks, in_channels=in_channels, classes=classes)
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, stem, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
            nn.Conv2d(stem, width, 3, stride=2, padding=1, bias=False),
        )
        self.blocks = nn.Sequential(*[PreActBlock(width, width) for _ in range(blocks)])
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, classes))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.blocks(self.stem(x))).relu())
        return logits

"""A few small networks: quick to train, quick to attack, with no hidden state."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from sparring.errors import InputError


class SmallCNN(nn.Module):
    """Two 3x3 convolutions, a 2x2 pool, two linear layers: (N, in_channels, size, size) to (N, classes).

    Raises InputError when an argument is not positive, or `size` is below 2.
    """

    def __init__(self, in_channels: int = 1, size: int = 8, classes: int = 10, width: int = 16) -> None:
        super().__init__()
        require_positive(in_channels=in_channels, classes=classes, width=width)
        if size < 2:
            raise InputError(f"size={size} leaves nothing after the 2x2 pool: use at least 2")
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(2 * width * (size // 2) ** 2, 4 * width),
            nn.ReLU(),
            nn.Linear(4 * width, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


class MLP(nn.Module):
    """Linear layers with ReLU between them: (N, ...), flattened to (N, in_features), to (N, classes).

    Raises InputError when an argument is not positive.
    """

    def __init__(self, in_features: int = 64, classes: int = 10, hidden: Sequence[int] = (128, 64)) -> None:
        super().__init__()
        require_positive(in_features=in_features, classes=classes, hidden=min(hidden, default=1))
        layers: list[nn.Module] = [nn.Flatten()]
        for width, following in pairwise((in_features, *hidden)):
            layers += [nn.Linear(width, following), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear((in_features, *hidden)[-1], classes))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


def require_positive(**arguments: int) -> None:
    """Raises InputError naming the first argument below 1."""
    for name, value in arguments.items():
        if value < 1:
            raise InputError(f"{name}={value} makes no network: use a positive number")

"""The networks and data that the benchmarks measure on, third-party ones included.

Third-party files are looked for in the folder named by the environment variable SPARRING_BENCH (models/, data/,
peers/), by default `shared` beside the repository; without them a benchmark is skipped. The factories also serve
the command line, as in `--model benchmarks/fixtures.py:mnist_trades`.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from sparring.data import load


class Absent(Exception):
    """Something third-party that a benchmark needs is not on this machine."""


def find(relative: str) -> Path:
    """The path of a third-party file or folder.

    Raises:
        Absent: it is not there.
    """
    root = Path(os.environ.get("SPARRING_BENCH") or Path(__file__).resolve().parents[2] / "shared")
    path = root / relative
    if not path.exists():
        raise Absent(f"{relative} is not in {root}; name the folder that holds it in SPARRING_BENCH")
    return path


class MnistTrades(nn.Module):
    """The SmallCNN of TRADES (Zhang et al. 2019), without weights: (N, 1, 28, 28) in [0, 1] to (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_extractor = nn.Sequential(
            OrderedDict[str, nn.Module](
                conv1=nn.Conv2d(1, 32, 3), relu1=nn.ReLU(),
                conv2=nn.Conv2d(32, 32, 3), relu2=nn.ReLU(), pool1=nn.MaxPool2d(2),
                conv3=nn.Conv2d(32, 64, 3), relu3=nn.ReLU(),
                conv4=nn.Conv2d(64, 64, 3), relu4=nn.ReLU(), pool2=nn.MaxPool2d(2),
            )
        )  # fmt: skip
        self.classifier = nn.Sequential(
            OrderedDict[str, nn.Module](
                fc1=nn.Linear(1024, 200), relu1=nn.ReLU(), drop=nn.Dropout(0.5),
                fc2=nn.Linear(200, 200), relu2=nn.ReLU(), fc3=nn.Linear(200, 10),
            )
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.feature_extractor(x).flatten(1))
        return logits


class MnistLenet(nn.Module):
    """advertorch's LeNet-like network, without weights: (N, 1, 28, 28) in [0, 1] to (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.linear1, self.linear2 = nn.Linear(3136, 200), nn.Linear(200, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.conv1(x).relu(), 2)
        x = functional.max_pool2d(self.conv2(x).relu(), 2)
        logits: Tensor = self.linear2(self.linear1(x.flatten(1)).relu())
        return logits


class Oval(nn.Sequential):
    """An OVAL verification network; it normalises its input itself: (N, 3, 32, 32) in [0, 1] to (N, 10)."""

    mean: Tensor

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406)).reshape(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / 0.225
        for layer in self:
            x = layer(x)
        return x


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation, and a shortcut (He et al. 2016, figure 2)."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or width_in != width:
            self.shortcut = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        out: Tensor = (inner + self.shortcut(x)).relu()
        return out


def mnist_trades() -> nn.Module:
    """The published TRADES model, robust to L-infinity 0.3 on MNIST."""
    return _trained(MnistTrades(), "mnist_trades")


def mnist_lenet() -> nn.Module:
    """A naturally trained MNIST network."""
    return _trained(MnistLenet(), "mnist_lenet")


def cifar_oval_base() -> nn.Module:
    """The OVAL base network for CIFAR-10."""
    return _trained(_oval(8, 16), "cifar_oval_base")


def cifar_oval_wide() -> nn.Module:
    """The OVAL wide network for CIFAR-10."""
    return _trained(_oval(16, 32), "cifar_oval_wide")


def cifar_oval_deep() -> nn.Module:
    """The OVAL deep network for CIFAR-10."""
    layers = [nn.Conv2d(3, 8, 4, 2, 1), *(nn.Conv2d(8, 8, 3, 1, 1) for _ in range(2)), nn.Conv2d(8, 8, 4, 2, 1)]
    body = [part for layer in layers for part in (layer, nn.ReLU())]
    net = Oval(*body, nn.Flatten(), nn.Linear(512, 100), nn.ReLU(), nn.Linear(100, 10))
    return _trained(net, "cifar_oval_deep")


def resnet18() -> nn.Module:
    """A ResNet-18 for 32x32 images (11.2 million parameters), untrained: its size is what is measured."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        blocks: list[nn.Module] = []
        width_in = 64
        for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            blocks += [Block(width_in, width, stride), Block(width, width, 1)]
            width_in = width
        stem = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)).eval()


def mnist(limit: int | None = None) -> tuple[Tensor, Tensor]:
    """The MNIST test images (N, 1, 28, 28) in [0, 1], and their labels."""
    examples = load(find("data/mnist_test.npz"), limit=limit)
    return examples.x, examples.y


def cifar(limit: int) -> tuple[Tensor, Tensor]:
    """The first `limit` CIFAR-10 test images (N, 3, 32, 32) in [0, 1], re-encoded as JPEG, and their labels."""
    examples = load(find("data/cifar10_test_jpeg.npz"), limit=limit)
    return examples.x, examples.y


def correct(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """(N,) bool: what the network gets right."""
    with torch.no_grad():
        said = torch.cat([net(part).argmax(1) for part in torch.split(x, 100)])
    return said == y


def _oval(first: int, second: int) -> Oval:
    return Oval(
        nn.Conv2d(3, first, 4, 2, 1), nn.ReLU(), nn.Conv2d(first, second, 4, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * second, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip


def _trained(net: nn.Module, name: str) -> nn.Module:
    net.load_state_dict(safetensors.torch.load_file(find(f"models/{name}.safetensors")))
    return net.eval()

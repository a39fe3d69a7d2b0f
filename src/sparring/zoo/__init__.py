"""Networks to train and attack: small ones for the demo and the tests, and those that recipes for CIFAR-10 use."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from sparring.zoo.residual import PreActResNet, SmallResNet, WideResNet
from sparring.zoo.small import MLP, SmallCNN

__all__ = ["AVAILABLE", "MLP", "PreActResNet", "SmallCNN", "SmallResNet", "WideResNet"]


def mnist_cnn() -> nn.Module:
    """SmallCNN, 32 wide, for MNIST: (N, 1, 28, 28) to (N, 10)."""
    return SmallCNN(in_channels=1, size=28, width=32)


def cifar_small() -> nn.Module:
    """A residual network for CIFAR-10 that two cores train in half an hour: (N, 3, 32, 32) to (N, 10)."""
    return SmallResNet()


def cifar_preactresnet18() -> nn.Module:
    """Pre-activation ResNet-18 for CIFAR-10, 11.2 million parameters: (N, 3, 32, 32) to (N, 10)."""
    return PreActResNet()


def cifar_wrn28_10() -> nn.Module:
    """Wide ResNet WRN-28-10 for CIFAR-10, 36.5 million parameters: (N, 3, 32, 32) to (N, 10)."""
    return WideResNet(depth=28, widen=10)


def cifar_wrn34_10() -> nn.Module:
    """Wide ResNet WRN-34-10 for CIFAR-10, 46.2 million parameters: (N, 3, 32, 32) to (N, 10)."""
    return WideResNet(depth=34, widen=10)


AVAILABLE: dict[str, Callable[[], nn.Module]] = {
    "digits-cnn": SmallCNN,
    "digits-mlp": MLP,
    "mnist-cnn": mnist_cnn,
    "cifar-small": cifar_small,
    "cifar-preactresnet18": cifar_preactresnet18,
    "cifar-wrn28-10": cifar_wrn28_10,
    "cifar-wrn34-10": cifar_wrn34_10,
}
"""Untrained networks by name, the first word of which is their data; initialised by torch's global generator."""

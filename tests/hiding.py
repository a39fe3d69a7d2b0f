"""Layers and wrappers that hide gradients, randomise them, or lie about them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sparring.randomness import normal


class Before(nn.Module):
    """`pre`, then `net`."""

    def __init__(self, pre: nn.Module, net: nn.Module) -> None:
        super().__init__()
        self.pre, self.net = pre, net

    def forward(self, x: Tensor) -> Any:
        return self.net(self.pre(x))


class Round(nn.Module):
    """To `levels` steps: the gradient is zero."""

    def __init__(self, levels: int = 7) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.levels).round() / self.levels


class StraightThrough(Round):
    """The same with the identity's gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (super().forward(x) - x).detach()


class InNumpy(Round):
    """The same in NumPy: there is no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy((x.numpy() * self.levels).round() / self.levels)


class Detached(nn.Module):
    """Cuts the graph."""

    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


class NoisyHook(nn.Module):
    """Noise is added to the gradient, by a tensor hook."""

    def forward(self, x: Tensor) -> Tensor:
        out = x * 1.0
        if out.requires_grad:
            out.register_hook(lambda g: g + 30 * g.square().mean().sqrt() * torch.randn_like(g))
        return out


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return tangent.view_as(tangent)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> Tensor:
        return -above[0]


class Reversed(nn.Module):
    """The identity, but its gradient points the other way."""

    def forward(self, x: Tensor) -> Tensor:
        return _Reversed.apply(x)


class Noise(nn.Module):
    """Adds noise, a function of the look being taken, and keeps it."""

    def __init__(self, sigma: float = 0.3) -> None:
        super().__init__()
        self.sigma = sigma
        self.drawn: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.drawn.append(normal(x))
        return x + self.sigma * self.drawn[-1]


class Times(nn.Module):
    """So many times."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor

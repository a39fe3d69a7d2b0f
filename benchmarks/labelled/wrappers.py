"""Foreign wrappers: what is done around or behind a network, in plain torch. `net` is the network inside."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class Around(nn.Module):
    """Something with a network inside."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits


class RoundedInside(Around):
    """Rounding as an expression in forward: no submodule to name."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x * 7).round() / 7)


class Scaled(Around):
    """Logits times a constant: the same decisions at any scale."""

    def __init__(self, net: nn.Module, factor: float) -> None:
        super().__init__(net)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * super().forward(x)


class Backwards(Around):
    """Twice the detached input minus the input: the same value, the opposite gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2 * x.detach() - x)


class Decoy(Around):
    """The answer is detached, and a faint untrained network alone carries the gradient."""

    def __init__(self, net: nn.Module, decoy: nn.Module, share: float = 1e-3) -> None:
        super().__init__(net)
        self.decoy, self.share = decoy, share

    def forward(self, x: Tensor) -> Tensor:
        faint: Tensor = self.decoy(x)
        return super().forward(x).detach() + self.share * faint


class HalfDetached(Around):
    """The gradient flows through the top rows of the image only."""

    def __init__(self, net: nn.Module, rows: int = 2) -> None:
        super().__init__(net)
        self.rows = rows

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.cat([x[:, :, : self.rows], x[:, :, self.rows :].detach()], 2))


class HardLabel(Around):
    """The answer alone: ten for it and zero for the rest."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return 10.0 * functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits)


class Majority(Around):
    """The shares of votes over noisy copies."""

    def __init__(self, net: nn.Module, sigma: float = 0.15, votes: int = 8) -> None:
        super().__init__(net)
        self.sigma, self.votes = sigma, votes

    def forward(self, x: Tensor) -> Tensor:
        ballots = []
        for _ in range(self.votes):
            logits = super().forward(x + self.sigma * torch.randn_like(x))
            ballots.append(functional.one_hot(logits.argmax(1), logits.shape[1]).to(x))
        return torch.stack(ballots).mean(0)


class Noisy(Around):
    """The network on one noisy copy."""

    def __init__(self, net: nn.Module, sigma: float = 0.15) -> None:
        super().__init__(net)
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + self.sigma * torch.randn_like(x))


class Probabilities(Around):
    """Softmax at the end."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class RoundedOutput(Around):
    """Probabilities with so many decimals."""

    def __init__(self, net: nn.Module, decimals: int = 2) -> None:
        super().__init__(net)
        self.decimals = decimals

    def forward(self, x: Tensor) -> Tensor:
        return torch.round(super().forward(x).softmax(1), decimals=self.decimals)


class ReverseSigmoid(Around):
    """Perturbs probabilities so that their slope misleads (Lee et al. 2019)."""

    def __init__(self, net: nn.Module, beta: float = 0.9, gamma: float = 0.4) -> None:
        super().__init__(net)
        self.beta, self.gamma = beta, gamma

    def forward(self, x: Tensor) -> Tensor:
        p = super().forward(x).softmax(1).clamp(1e-6, 1 - 1e-6)
        shifted = p - self.beta * (torch.sigmoid(self.gamma * (p / (1 - p)).log()) - 0.5)
        shifted = shifted - shifted.amin(1, keepdim=True) + 1e-6
        return shifted / shifted.sum(1, keepdim=True)


class TestDropout(nn.Module):
    """Dropout that goes on while testing."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.share, training=True)


class WinnersTakeAll(nn.Module):
    """Only the largest share of the activations of an example stays (k-WTA, Xiao, Zhong & Zheng 2020)."""

    def __init__(self, share: float = 0.1) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        keep = max(1, round(self.share * flat.shape[1]))
        least = flat.topk(keep, dim=1).values[:, -1:]
        return (flat * (flat >= least)).reshape(x.shape)


class Staircase(nn.Module):
    """A ReLU in steep steps: almost flat between them."""

    def __init__(self, height: float = 0.5, slope: float = 40.0) -> None:
        super().__init__()
        self.height, self.slope = height, slope

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(x) / self.height
        floor = x.detach().floor()
        return self.height * (floor + torch.sigmoid(self.slope * (x - floor - 0.5)))


class Jump(nn.Module):
    """A ReLU that jumps: nothing below the threshold."""

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        return x * (x > self.threshold)


class SteepTanh(nn.Module):
    """Activations that saturate almost everywhere."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.slope * x)


class Quantised(nn.Module):
    """Activations rounded to steps of a size; `leak` of the ReLU's gradient goes through."""

    def __init__(self, step: float = 0.5, leak: float = 0.0) -> None:
        super().__init__()
        self.step, self.leak = step, leak

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(x)
        steps: Tensor = (x / self.step).round() * self.step
        return steps + self.leak * (x - x.detach())


class MeanSparse(nn.Module):
    """Activations near the channel's mean become the mean (Amini et al. 2024), before the ReLU."""

    mean: Tensor
    width: Tensor

    def __init__(self, mean: Tensor, width: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("width", width, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        near = (x - self.mean).abs() < self.width
        return functional.relu(torch.where(near, self.mean.expand_as(x), x))


def replaced(net: nn.Module, kind: type[nn.Module], make: Callable[[], nn.Module]) -> nn.Module:
    """A copy of `net` with another module in every place of that kind."""
    net = copy.deepcopy(net)
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                setattr(parent, name, make())
    return net


def sparsified(net: nn.Module, x: Tensor, share: float) -> nn.Module:
    """A copy of `net` with MeanSparse in place of its ReLUs, at `share` standard deviations over x."""
    net = copy.deepcopy(net)
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(parent, name, _measured(net, child, x, share))
    return net


def _measured(net: nn.Module, relu: nn.Module, x: Tensor, share: float) -> nn.Module:
    seen: list[Tensor] = []
    handle = relu.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    with torch.no_grad():
        net(x)
    handle.remove()
    axes = [axis for axis in range(seen[0].ndim) if axis != 1]
    return MeanSparse(seen[0].mean(axes, keepdim=True), share * seen[0].std(axes, keepdim=True))

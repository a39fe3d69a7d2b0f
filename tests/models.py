"""Networks with known answers, networks that answer oddly, and networks that keep count."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import torch
from torch import Tensor, nn


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """What `build` makes from that seed; the global generator stays where it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def linear(features: int, classes: int, seed: int = 0) -> nn.Module:
    """One linear layer: every distance to its boundary has a closed form."""
    return seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(features, classes)), seed)


def relu(features: int, classes: int, seed: int = 0, width: int = 24) -> nn.Module:
    """One hidden layer."""
    layers = nn.Linear, nn.ReLU, nn.Linear
    return seeded(
        lambda: nn.Sequential(nn.Flatten(), layers[0](features, width), layers[1](), layers[2](width, classes)),
        seed,
    )


def mixed(features: int, classes: int, seed: int = 0) -> nn.Module:
    """Batch norm, dropout, a frozen weight, a gradient, a hook, and only some of its modules in training mode."""

    def build() -> nn.Module:
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(features, 16), nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, classes)
        )
        net[1].weight.requires_grad_(False)
        net[4].weight.grad = torch.rand_like(net[4].weight)
        net[2].eval()
        net[1].register_forward_hook(lambda module, inputs, output: None)
        net.register_forward_pre_hook(lambda module, inputs: None)
        return net

    return seeded(build, seed)


class OneByOne(nn.Module):
    """`net` run row by row, so that no row's logits depend on the batch it came in."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.net(row) for row in x.split(1)])


class Then(nn.Module):
    """`change` of what `net` returns, from call number `after` on."""

    def __init__(self, net: nn.Module, change: Callable[[Tensor], Any], after: int = 0) -> None:
        super().__init__()
        self.net, self.change, self.after, self.calls = net, change, after, 0

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        logits = self.net(x)
        return self.change(logits) if self.calls > self.after else logits


def crash(logits: Tensor) -> NoReturn:
    """For `Then`: the network breaks down."""
    raise ZeroDivisionError("the network broke down")


# The same logits (N, K) in every form a network may return.
FORMS: dict[str, Callable[[Tensor], Any]] = {
    "logits": lambda z: z,
    "attribute": lambda z: SimpleNamespace(logits=z, loss=None),
    "mapping": lambda z: {"loss": z.sum(), "logits": z},
    "tuple": lambda z: (z, z[:, 0]),
    "list": lambda z: [z, None],
}


class InPlace(nn.Module):
    """Overwrites its own input."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.mul_(2).sub_(1))


class Counting(nn.Module):
    """Counts passes per example; the first feature of each input, which a mask must hold still, says which.

    Feature value i / rows names example i.
    """

    def __init__(self, net: nn.Module, rows: int) -> None:
        super().__init__()
        self.net = net
        self.forwards = torch.zeros(rows, dtype=torch.int64)
        self.backwards = torch.zeros(rows, dtype=torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        who = (x.detach().flatten(1)[:, 0] * len(self.forwards)).round().long()
        self._count(self.forwards, who)
        if x.requires_grad:
            x.register_hook(lambda gradient: self._count(self.backwards, who))
        return self.net(x)

    @staticmethod
    def _count(counts: Tensor, who: Tensor) -> None:
        counts.index_add_(0, who, torch.ones_like(who))

"""Batch normalisation folds into the layer that alone feeds it, and nowhere else."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from evaluation.forms import convolutional, lived, points
from models import seeded
from sparring.evaluation.folding import fold


class Residual(nn.Module):
    """Of the four normalisations the first two fold; the third follows a ReLU, the fourth what others read too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.enter = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.inner, self.norm = nn.Conv2d(6, 6, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(6)
        self.after = nn.BatchNorm2d(6)
        self.read, self.last = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6, affine=False)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(self.stem(x))
        x = self.after((x + self.norm(self.inner(x))).relu())
        read = self.read(x)
        return self.head((self.last(read) + read).mean((2, 3)))


class Shared(nn.Module):
    """One convolution twice: before a normalisation, and without one. One normalisation twice, after two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.other, self.norm = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.norm(self.twice(x)).relu())
        return self.head(self.norm(self.other(x)).mean((2, 3)))


def flat() -> nn.Module:
    layers = nn.Linear(12, 16, bias=False), nn.BatchNorm1d(16, affine=False), nn.Dropout(), nn.Linear(16, 4)
    return nn.Sequential(nn.Flatten(), *layers, nn.BatchNorm1d(4))


def normalisations(net: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in net.modules())


FOLDS = [(convolutional, (2, 6, 6), 0), (flat, (12,), 0), (Residual, (2, 5, 5), 2), (Shared, (2, 5, 5), 0)]


@pytest.mark.parametrize(("build", "shape", "left"), FOLDS, ids=lambda value: getattr(value, "__name__", None))
def test_a_folded_network_says_the_same_and_slopes_the_same(
    build: Callable[[], nn.Module], shape: tuple[int, ...], left: int
) -> None:
    for seed in range(3):
        net = seeded(lambda: lived(build()), seed).double()
        before, x = copy.deepcopy(net.state_dict()), points(7, *shape, seed=seed).double().requires_grad_(True)
        folded = fold(net)
        assert normalisations(folded) == left
        exact, found = net(x), folded(x)
        torch.testing.assert_close(found, exact, rtol=0, atol=1e-12 * float(exact.detach().abs().max()))
        slopes = [torch.autograd.grad(logits.square().sum(), x)[0] for logits in (exact, found)]
        torch.testing.assert_close(slopes[1], slopes[0], rtol=0, atol=1e-12 * float(slopes[0].abs().max()))
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


class Stands(nn.Module):
    """Control flow that torch.fx cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.net = convolutional()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x if float(x.sum()) > 0 else -x)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.BatchNorm1d(4)).eval(), "nothing to fold"),
        (
            lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False)).eval(),
            "nothing to fold",
        ),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train(), "nothing to fold"),
        (lambda: nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (2, 3)), nn.BatchNorm1d(2)).eval(), "nothing to fold"),
        (Stands, "cannot follow"),
    ],
    ids=["after a ReLU", "of the batch", "in training", "of another axis", "control flow"],
)
def test_what_cannot_be_folded_is_not(build: Callable[[], nn.Module], message: str) -> None:
    net = build()
    with pytest.raises(sp.ModelError, match=message):
        fold(net)

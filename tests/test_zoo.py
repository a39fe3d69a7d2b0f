"""The small networks: their shapes, what they learn, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparring.data import load
from sparring.errors import InputError
from sparring.zoo import AVAILABLE, MLP, SmallCNN


@pytest.mark.parametrize("name", AVAILABLE)
def test_a_network_learns_the_digits(name: str) -> None:
    torch.manual_seed(0)
    net, train, test = AVAILABLE[name](), load("digits:train"), load("digits:test")
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(12):
        for rows in torch.randperm(len(train.x)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(train.x[rows]), train.y[rows]).backward()
            optimizer.step()
    accuracy = (net(test.x).argmax(1) == test.y).float().mean()
    assert accuracy >= (0.97 if name == "digits-cnn" else 0.94)


@pytest.mark.parametrize(
    ("net", "shape", "classes"),
    [
        (SmallCNN(), (1, 8, 8), 10),
        (SmallCNN(3, 9, 4, 2), (3, 9, 9), 4),
        (SmallCNN(2, 2, 1, 1), (2, 2, 2), 1),
        (MLP(), (1, 8, 8), 10),
        (MLP(6, 3, ()), (2, 3), 3),
        (MLP(5, 2, [4]), (5,), 2),
    ],
)
def test_shapes(net: nn.Module, shape: tuple[int, ...], classes: int) -> None:
    assert net(torch.rand(7, *shape)).shape == (7, classes)


@pytest.mark.parametrize("name", AVAILABLE)
def test_an_example_is_classified_alone(name: str) -> None:
    net, x = AVAILABLE[name](), load("digits", limit=8).x
    alone = torch.cat([net(one) for one in x.split(1)])
    assert torch.allclose(net(x), alone, atol=1e-6)
    assert torch.allclose(net.eval()(x), alone, atol=1e-6)


def test_sizes_that_make_no_network_are_refused() -> None:
    with pytest.raises(InputError, match=r"size=1 .*at least 2"):
        SmallCNN(size=1)
    with pytest.raises(InputError, match=r"width=0 .*positive"):
        SmallCNN(width=0)
    with pytest.raises(InputError, match=r"hidden=-3 .*positive"):
        MLP(hidden=(8, -3))

"""The networks: their shapes and sizes, what the small ones learn, and what all of them refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparring.data import load
from sparring.errors import InputError
from sparring.loading import load_network
from sparring.zoo import AVAILABLE, MLP, PreActResNet, SmallCNN, WideResNet
from sparring.zoo.residual import PreActBlock

DIGITS = [name for name in AVAILABLE if name.startswith("digits-")]
SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar": (3, 32, 32)}


@pytest.mark.parametrize("name", DIGITS)
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
        (PreActResNet((1, 2), 4), (3, 32, 32), 10),
        (PreActResNet((1, 1, 1), 2, 1, 3), (1, 7, 5), 3),
        (PreActResNet([1], 1, 2, 1), (2, 1, 1), 1),
        (WideResNet(10, 1), (3, 32, 32), 10),
        (WideResNet(16, 2, 1, 4), (1, 9, 9), 4),
    ],
)
def test_shapes(net: nn.Module, shape: tuple[int, ...], classes: int) -> None:
    assert net(torch.rand(7, *shape)).shape == (7, classes)


@pytest.mark.parametrize("name", DIGITS)
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
    with pytest.raises(InputError, match=r"blocks=0 .*positive"):
        PreActResNet((2, 0))
    with pytest.raises(InputError, match=r"blocks=0 .*positive"):
        PreActResNet(())
    with pytest.raises(InputError, match=r"in_channels=0 .*positive"):
        PreActResNet(in_channels=0)
    with pytest.raises(InputError, match=r"widen=0 .*positive"):
        WideResNet(widen=0)


@pytest.mark.parametrize("depth", [27, 29, 4, -2])
def test_a_depth_that_does_not_divide_is_refused(depth: int) -> None:
    with pytest.raises(InputError, match=rf"depth={depth} .*use 6n \+ 4"):
        WideResNet(depth)


@pytest.mark.parametrize("name", AVAILABLE)
def test_every_name_loads_for_the_data_it_is_named_after(name: str) -> None:
    with torch.device("meta"):
        net = load_network(f"zoo:{name}")
        assert net(torch.empty(2, *SHAPES[name.partition("-")[0]])).shape == (2, 10)
    assert not net.training


# The residual networks.


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_preactivation_resnet_18_has_its_known_size() -> None:
    with torch.device("meta"):
        net = PreActResNet()
    total = 3 * 9 * 64  # the stem
    for width_in, width in ((64, 64), (64, 128), (128, 256), (256, 512)):
        total += 2 * width_in + 9 * width_in * width + 2 * width + 9 * width * width  # BN, conv, BN, conv
        total += width_in * width if width_in != width else 0  # the 1x1 shortcut, without BN
        total += 2 * (2 * width + 9 * width * width)  # the second block
    total += 2 * 512 + 512 * 10 + 10  # the last BN, of 1,024 parameters, and the head
    assert parameters(net) == total == 11_172_170 == 11_171_146 + 1_024


@pytest.mark.parametrize(("depth", "widen", "expected"), [(28, 10, 36_479_194), (34, 10, 46_160_474)])
def test_wide_resnets_have_their_published_sizes(depth: int, widen: int, expected: int) -> None:
    with torch.device("meta"):
        net = WideResNet(depth, widen)
    assert parameters(net) == expected
    # The paper's depth counts every convolution: the stem, two in each block, and three shortcuts.
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert sum(module.kernel_size == (3, 3) for module in convolutions) == depth - 3
    assert sum(module.kernel_size == (1, 1) for module in convolutions) == 3


@pytest.mark.parametrize("zeroed", [("conv1", "conv2"), ("conv2",)])
@pytest.mark.parametrize("training", [True, False])
def test_a_block_with_zeroed_convolutions_is_the_identity(zeroed: tuple[str, ...], training: bool) -> None:
    block, x = PreActBlock(4, 4).train(training), torch.randn(3, 4, 6, 6)
    for name in zeroed:
        nn.init.zeros_(getattr(block, name).weight)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(("width", "stride"), [(6, 1), (4, 2), (6, 2)])
def test_a_shortcut_is_taken_from_the_activated_input(width: int, stride: int) -> None:
    block, x = PreActBlock(4, width, stride).eval(), torch.randn(3, 4, 5, 5)
    nn.init.zeros_(block.conv2.weight)
    block.norm1.running_mean = torch.tensor([0.5, -0.5, 0.0, 1.0])
    active = ((x - block.norm1.running_mean[:, None, None]) / (1 + block.norm1.eps) ** 0.5).clamp(min=0)
    weight = block.shortcut.weight[:, :, 0, 0]
    expected = torch.einsum("oc,nchw->nohw", weight, active[:, :, ::stride, ::stride])
    assert torch.allclose(block(x), expected, atol=1e-6)


def test_stages_halve_the_resolution_and_double_the_width() -> None:
    seen: list[tuple[int, ...]] = []
    net = PreActResNet(width=3)
    for block in net.blocks:
        block.register_forward_hook(lambda block, args, out: seen.append(tuple(out.shape[1:])))
    net(torch.rand(2, 3, 32, 32))
    stages = ((3, 32, 32), (6, 16, 16), (12, 8, 8), (24, 4, 4))
    assert seen == [stage for stage in stages for _ in range(2)]


def test_a_small_residual_network_learns() -> None:
    x, y = load("digits", limit=60).x, load("digits", limit=60).y
    net = PreActResNet((1, 1), width=8, in_channels=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert (net.eval()(x).argmax(1) == y).float().mean() == 1
    alone = torch.cat([net(one) for one in x.split(1)])
    assert torch.allclose(net(x), alone, atol=1e-4)

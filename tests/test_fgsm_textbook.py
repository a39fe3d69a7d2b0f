"""FGSM(clip=False) is the line everyone has: x + eps * sign(gradient of the mean cross-entropy), bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import sparring as sp
from models import mixed, relu, seeded


def fgsm_attack(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """As in a hundred tutorials."""
    images = images.clone().requires_grad_(True)
    loss = functional.cross_entropy(model(images), labels)
    loss.backward()
    assert images.grad is not None
    return (images + epsilon * images.grad.sign()).detach()


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(33, 3, 6, 6, generator=generator), torch.randint(0, 5, (33,), generator=generator)


def cnn() -> nn.Module:
    return seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5)),
        1,
    )


@pytest.mark.parametrize("eps", [8 / 255, 0.3, 2.0])
@pytest.mark.parametrize("training", [True, False])
def test_it_is_the_textbook_line_bit_for_bit(eps: float, training: bool) -> None:
    x, y = batch()
    ours, theirs = cnn().train(training), cnn().train(training)
    assert torch.equal(sp.FGSM(clip=False)(ours, x, y, sp.Linf(eps)).x, fgsm_attack(theirs, x, y, eps))


def test_wrong_rows_move_too_and_leave_the_range() -> None:
    x, y = batch()
    net = relu(108, 5)
    out = sp.FGSM(clip=False)(net, x, y, sp.Linf(0.5))
    wrong = net(x).argmax(1) != y
    assert wrong.any()
    assert bool(((out.x - x).flatten(1).abs().amax(1) > 0.49).all())
    assert float(out.x.max()) > 1
    assert float(out.x.min()) < 0


def test_inputs_outside_the_range_are_welcome() -> None:
    x, y = batch()
    x = 5 * x - 2
    net = relu(108, 5)
    assert torch.equal(sp.FGSM(clip=False)(net, x, y, sp.Linf(0.1)).x, fgsm_attack(net, x, y, 0.1))


def test_success_and_distance_are_told_of_every_row() -> None:
    x, y = batch()
    net = relu(108, 5)
    out = sp.FGSM(clip=False)(net, x, y, sp.Linf(0.1))
    assert torch.equal(out.success, net(out.x).argmax(1) != y)
    torch.testing.assert_close(out.distance, torch.full((33,), 0.1))
    assert (out.forwards.tolist(), out.backwards.tolist()) == ([2] * 33, [1] * 33)


def test_the_network_keeps_its_mode_and_its_gradients() -> None:
    x, y = batch()
    net = mixed(108, 5)
    flags, gradient = [module.training for module in net.modules()], net[4].weight.grad.clone()
    sp.FGSM(clip=False)(net, x, y, sp.Linf(0.1))
    assert [module.training for module in net.modules()] == flags
    assert torch.equal(net[4].weight.grad, gradient)
    assert net[4].bias.grad is None


def test_targeted_it_steps_down_the_loss_of_the_target() -> None:
    x, y = batch()
    net = relu(108, 5)
    out = sp.FGSM(clip=False)(net, x, None, sp.Linf(0.1), targets=y)
    assert torch.equal(out.x, fgsm_attack(net, x, y, -0.1))


def test_clipped_it_is_the_textbook_line_clipped_on_the_rows_the_model_gets_right() -> None:
    x, y = batch()
    net = relu(108, 5)
    right = net(x).argmax(1) == y
    out = sp.FGSM()(net, x, y, sp.Linf(0.1))
    textbook = fgsm_attack(net, x, y, 0.1).clamp(0, 1)
    assert torch.equal(out.x[~right], x[~right])
    assert torch.equal(out.success[right], net(textbook).argmax(1)[right] != y[right])
    moved = right & out.success
    assert moved.any()
    torch.testing.assert_close(out.x[moved], textbook[moved])

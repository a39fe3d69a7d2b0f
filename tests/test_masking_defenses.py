"""The transforms do what their papers say, and an adversary who knows them finds the model as it was underneath."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from models import relu
from sparring import defenses as d
from sparring.data import load
from sparring.errors import NoGradient
from sparring.objectives import cross_entropy, margin
from sparring.problem import Goal
from sparring.training import OneCycle
from sparring.zoo import SmallCNN

EPS = 0.1  # the radius at which the claims are stated
NAIVE = sp.PGD()
ADAPTIVE = sp.PGD(steps=20, objective="margin", n_targets=3)
EVERY_CLASS = sp.PGD(steps=20, objective="margin", n_targets=9)  # where the scores do not say which is the nearest


def images(rows: int = 4, channels: int = 1, size: int = 8) -> Tensor:
    return torch.rand(rows, channels, size, size, generator=torch.Generator().manual_seed(0))


def gradient(model: sp.Model, x: Tensor) -> Tensor:
    """Of the first logit, as an attack takes it."""
    at = x.clone().requires_grad_(True)
    with model.quiet():
        (found,) = torch.autograd.grad(model(at)[:, 0].sum(), at)
    return found


# --- inputs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_quantize_takes_exactly_two_to_the_bits_values_from_bound_to_bound(bits: int) -> None:
    x = torch.linspace(-2, 3, 5001).reshape(1, -1)
    values = d.Quantize(bits).before((-2.0, 3.0))(x).unique()
    torch.testing.assert_close(values, torch.linspace(-2, 3, 2**bits))


def test_quantize_moves_no_value_by_more_than_half_a_level_and_those_outside_to_the_edge() -> None:
    stage = d.Quantize(3).before((0.0, 1.0))
    x = images()
    assert float((stage(x) - x).abs().max()) <= 1 / 14 + 1e-6
    assert torch.equal(stage(torch.tensor([[-0.5, 1.5]])), torch.tensor([[0.0, 1.0]]))
    assert torch.equal(stage(stage(x)), stage(x))


def test_the_adaptive_gradient_through_quantize_is_that_of_the_model_at_the_quantized_point() -> None:
    net, x = relu(64, 3), images()
    model = d.Quantize(3)(net)
    rounded = model.net.before(x)
    assert torch.equal(gradient(model.adaptive(), x), gradient(sp.Model(net), rounded))
    assert not bool(gradient(model, x).any())


@pytest.mark.parametrize("transform", [d.JPEG(), d.TVSmoothing(), d.Thermometer(4)], ids=lambda t: type(t).__name__)
def test_there_is_no_gradient_to_follow_until_something_stands_in(transform: d.Transform) -> None:
    net = relu(256 if isinstance(transform, d.Thermometer) else 64, 3)
    model, x = transform(net), images()
    y = model(x).argmax(1)
    with pytest.raises(NoGradient, match="no input gradient"):
        NAIVE(model, x, y, sp.Linf(EPS))
    assert bool(sp.PGD(steps=10, objective="margin")(model.adaptive(), x, y, sp.Linf(0.5)).success.any())


def test_jpeg_keeps_what_is_smooth_and_coarser_files_keep_less() -> None:
    grey = torch.linspace(0, 1, 16).repeat(16, 1)[None, None]
    assert float((d.JPEG(95).before((0.0, 1.0))(grey) - grey).abs().max()) < 0.02
    noise = images(2, 3, 16)
    fine, coarse = (d.JPEG(quality).before((0.0, 1.0))(noise) for quality in (95, 10))
    assert fine.shape == noise.shape
    assert float((fine - noise).square().mean()) < float((coarse - noise).square().mean())
    levels = fine * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)


def test_jpeg_clamps_and_takes_one_or_three_channels() -> None:
    stage = d.JPEG().before((-2.0, 3.0))
    assert torch.equal(stage(torch.full((1, 1, 8, 8), 9.0)), torch.full((1, 1, 8, 8), 3.0))
    with pytest.raises(sp.InputError, match=r"1 or 3 channels, and x has shape \(1, 2, 8, 8\)"):
        stage(torch.zeros(1, 2, 8, 8))
    with pytest.raises(sp.InputError, match=r"takes images \(N, C, H, W\), and x has shape \(1, 64\)"):
        stage(torch.zeros(1, 64))


def test_the_median_of_a_known_image() -> None:
    lone = torch.zeros(1, 1, 5, 5)
    lone[..., 2, 2] = 1
    median = d.MedianSmoothing(3)
    assert not bool(median.before((0.0, 1.0))(lone).any())
    ramp = torch.arange(25.0).reshape(1, 1, 5, 5)
    mirrored = np.pad(ramp[0, 0].numpy(), 1, mode="reflect")
    expected = [[np.median(mirrored[i : i + 3, j : j + 3]) for j in range(5)] for i in range(5)]
    np.testing.assert_array_equal(median.before((0.0, 1.0))(ramp)[0, 0].numpy(), expected)
    with pytest.raises(sp.InputError, match="size=4; give an odd number"):
        d.MedianSmoothing(4)
    with pytest.raises(sp.InputError, match="too large for images"):
        d.MedianSmoothing(11).before((0.0, 1.0))(ramp)


def variation(u: Tensor) -> Tensor:
    """Isotropic total variation of each image, with differences of 0 at the edge."""
    down = torch.zeros_like(u)
    right = torch.zeros_like(u)
    down[:, :, :-1] = u[:, :, 1:] - u[:, :, :-1]
    right[:, :, :, :-1] = u[:, :, :, 1:] - u[:, :, :, :-1]
    return (down.square() + right.square()).sqrt().sum((1, 2, 3))


def test_tv_smoothing_lowers_what_it_minimises_and_keeps_constants_and_means() -> None:
    x, weight = images(3).double(), 0.1
    smooth = d.TVSmoothing(weight, steps=200).before((0.0, 1.0))(x)
    assert bool((variation(smooth) < 0.7 * variation(x)).all())
    torch.testing.assert_close(smooth.mean((1, 2, 3)), x.mean((1, 2, 3)))

    def cost(u: Tensor) -> Tensor:
        return variation(u) + (u - x).square().sum((1, 2, 3)) / (2 * weight)

    generator = torch.Generator().manual_seed(1)
    for scale in (0.1, 0.01, 0.003):
        moved = smooth + scale * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        assert bool((cost(smooth) < cost(moved)).all())
    flat = torch.full((1, 1, 6, 6), 0.3)
    torch.testing.assert_close(d.TVSmoothing().before((0.0, 1.0))(flat), flat)


def test_the_thermometer_of_known_values() -> None:
    stage = d.Thermometer(4).before((0.0, 1.0))
    x = torch.tensor([[0.0, 0.3, 1.0], [0.5, 0.6, 0.9]])
    bits = stage(x).reshape(2, 3, 4)
    assert bits.sum(2).tolist() == [[0, 1, 4], [2, 2, 4]]
    assert bits[0, 1].tolist() == [1, 0, 0, 0]
    assert stage(images(2, 3)).shape == (2, 12, 8, 8)
    torch.testing.assert_close(stage.surrogate(x).reshape(2, 3, 4).sum(2), 4 * x)


def test_a_network_learns_behind_a_thermometer() -> None:
    small = load("digits", split="train", limit=128)
    model = d.Thermometer(8)(SmallCNN(in_channels=8))
    trained = sp.train(model, (small.x, small.y), d.Standard(), epochs=4, batch_size=16, lr=3e-3)
    assert trained.history[-1]["accuracy"] > 0.5


def test_resizing_shrinks_to_the_low_bound_and_a_full_size_changes_nothing() -> None:
    x = images(64).add(0.5)
    same = d.ResizePad(1.0).before((0.0, 2.0))(x)
    torch.testing.assert_close(same, x, rtol=0, atol=1e-5)
    ones = torch.ones(64, 1, 32, 32)
    share = d.ResizePad(0.5).before((0.0, 1.0))(ones).mean((1, 2, 3)).sqrt()
    assert 0.47 < float(share.min()) < 0.6
    assert 0.9 < float(share.max()) <= 1.01
    assert 0.7 < float(share.mean()) < 0.8


def test_gaussian_noise_has_its_size_in_shares_of_the_range() -> None:
    x = torch.zeros(10, 1000)
    noise = d.GaussianNoise(0.1).before((-2.0, 3.0))(x)
    assert float(noise.std()) == pytest.approx(0.5, rel=0.05)
    assert abs(float(noise.mean())) < 0.03


# --- gradients ------------------------------------------------------------------------------------------------------


def test_gradient_noise_changes_no_logit_and_is_gone_without_its_hook() -> None:
    net, x = relu(64, 3), images()
    model = d.GradientNoise(10.0)(net)
    assert torch.equal(model(x), sp.Model(net)(x))
    exact = gradient(sp.Model(net), x)
    first, second = gradient(model, x), gradient(model, x)
    assert not torch.equal(first, second)
    assert torch.equal(gradient(model.adaptive(), x), exact)
    size = (first - exact).flatten(1).square().mean(1).sqrt() / exact.flatten(1).square().mean(1).sqrt()
    torch.testing.assert_close(size, torch.full_like(size, 10.0), rtol=0.4, atol=0)


def test_gradient_noise_of_an_example_does_not_depend_on_its_batch() -> None:
    net, x = relu(64, 3), images(9)
    model = d.GradientNoise(3.0)(net)
    y = model(x).argmax(1)
    outs = [sp.PGD(steps=5, batch_size=size)(model, x, y, sp.Linf(0.05)) for size in (1, 4, 9)]
    assert torch.allclose(outs[0].x, outs[2].x, atol=1e-6)
    assert torch.allclose(outs[1].x, outs[2].x, atol=1e-6)
    assert torch.equal(outs[0].success, outs[2].success)


# --- activations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "kept"), [(0.07, 7), (0.2, 20), (0.001, 1), (0.555, 56), (1.0, 100)])
def test_k_winners_keeps_exactly_the_largest_share_rounded_up(share: float, kept: int) -> None:
    model = d.KWinners(share)(nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(100, 2)))
    layer = model.net.inner.net[1]
    x = torch.randn(5, 4, 25)
    out = layer(x)
    assert (out != 0).flatten(1).sum(1).tolist() == [kept] * 5
    winners = x.flatten(1).sort(dim=1, descending=True).values[:, :kept]
    assert torch.equal(
        out.flatten(1).sort(dim=1, descending=True, stable=True).values.abs().sum(1) > 0, torch.ones(5) > 0
    )
    torch.testing.assert_close(out.flatten(1).sum(1), winners.sum(1))
    assert layer(torch.zeros(2, 100)).shape == (2, 100)


@pytest.mark.parametrize("transform", [d.KWinners(), d.MeanSparse(images())], ids=lambda t: type(t).__name__)
def test_only_the_relus_of_a_copy_are_replaced_wherever_they_stand(transform: d.Transform) -> None:
    shared = nn.ReLU()
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), shared, nn.Sequential(nn.Linear(8, 8), shared), nn.Linear(8, 2))
    model = transform(net)
    kinds = {type(module) for module in model.modules()}
    assert net[2] is net[3][1] is shared
    twin = model.net.inner.net
    assert twin is not net
    assert twin[2] is twin[3][1]
    assert type(twin[2]) is not nn.ReLU
    assert not torch.equal(model(images()), sp.Model(net)(images()))
    assert (nn.ReLU in kinds) == isinstance(transform, d.MeanSparse)


@pytest.mark.parametrize("transform", [d.KWinners(), d.MeanSparse(images())], ids=lambda t: type(t).__name__)
def test_a_network_without_relus_is_refused(transform: d.Transform) -> None:
    for net in (nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), lambda x: x.flatten(1)):
        with pytest.raises(sp.InputError, match=r"replaces nn\.ReLU modules, and the network has none"):
            transform(net)


def test_mean_sparse_takes_its_statistics_channel_by_channel() -> None:
    x = torch.randn(300, 3, 4, 4) * torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1) + 5
    head = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    block = d.MeanSparse(x, sigmas=0.5)(head).net.inner.net[0][0]
    torch.testing.assert_close(block.mean, x.mean((0, 2, 3)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(block.reach, 0.5 * x.transpose(0, 1).flatten(1).std(1, correction=0), rtol=1e-4, atol=0)
    out = block(x)
    near = (x - block.mean.reshape(3, 1, 1)).abs() <= block.reach.reshape(3, 1, 1)
    assert torch.equal(out[~near], x[~near])
    assert torch.equal(out, torch.where(near, block.mean.reshape(3, 1, 1), x))
    assert 0.3 < float(near.float().mean()) < 0.45  # 38 % of a normal are within half a standard deviation
    same = d.MeanSparse(x, sigmas=0)(head)
    torch.testing.assert_close(same(x / 20), sp.Model(head)(x / 20))


def test_mean_sparse_needs_inputs_to_take_means_over() -> None:
    with pytest.raises(sp.InputError, match="MeanSparse has x=None; give the inputs"):
        d.MeanSparse()(relu(64, 3))
    for wrong in ("digits", torch.zeros(0, 64), torch.zeros(4, 64).long()):
        with pytest.raises(sp.InputError, match="x that is no floating tensor"):
            d.MeanSparse(wrong)  # type: ignore[arg-type]


# --- scores ---------------------------------------------------------------------------------------------------------


def test_rounded_outputs_are_the_log_of_rounded_probabilities() -> None:
    logits = torch.tensor([[2.0, 1.0, -3.0], [0.0, 0.0, 0.0]])
    said = d.OutputRounding(2).after()(logits).exp()
    torch.testing.assert_close(said, torch.tensor([[0.73, 0.27, 0.0], [0.33, 0.33, 0.33]]))
    assert bool(d.OutputRounding(1).after()(torch.tensor([[99.0, 0.0]])).isfinite().all())


def test_the_reverse_sigmoid_is_that_of_the_paper() -> None:
    logits = torch.tensor([[2.0, 1.0, -3.0], [0.3, 0.1, 0.2]], dtype=torch.float64)
    z = np.exp(logits.numpy())
    p = z / z.sum(1, keepdims=True)
    for beta, gamma in ((1.0, 0.1), (0.4, 0.5)):
        perturbed = p - beta * (1 / (1 + np.exp(-gamma * np.log(p / (1 - p)))) - 0.5)
        expected = np.log(perturbed / perturbed.sum(1, keepdims=True))
        found = d.ReverseSigmoid(beta, gamma).after()(logits)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    assert bool(d.ReverseSigmoid(2.0, 1.0).after()(torch.tensor([[200.0, 0.0, -200.0]])).isfinite().all())


def test_a_small_temperature_saturates_cross_entropy_and_not_the_margin() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.5]])
    goal = Goal(torch.tensor([0]), False)
    at = logits.clone().requires_grad_(True)
    (flat,) = torch.autograd.grad(cross_entropy(d.Temperature(0.01).after()(at), goal).sum(), at)
    (steep,) = torch.autograd.grad(margin(d.Temperature(0.01).after()(at), goal).sum(), at)
    assert not bool(flat.any())
    torch.testing.assert_close(steep, torch.tensor([[-100.0, 100.0, 0.0]]))
    assert torch.equal(d.Temperature(0.5).after()(logits), 2 * logits)


# --- what is left under an adaptive attack ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    test = load("digits", split="test", limit=150)
    return test.x, test.y


def trained(defense: d.Defense, net: nn.Module, epochs: int = 10) -> nn.Module:
    return sp.train(net, "digits", defense, epochs=epochs, lr=5e-3, schedule=OneCycle()).model


@pytest.fixture(scope="module")
def natural() -> nn.Module:
    torch.manual_seed(0)
    return trained(d.Standard(), SmallCNN())


def robust(model: nn.Module, digits: tuple[Tensor, Tensor], attack: sp.PGD, eps: float = EPS) -> float:
    return 1 - float(attack(model, *digits, sp.Linf(eps)).success.float().mean())


@pytest.fixture(scope="module")
def undefended(natural: nn.Module, digits: tuple[Tensor, Tensor]) -> float:
    """The accuracy an attack leaves the undefended network at the stated radius."""
    left = robust(natural, digits, ADAPTIVE)
    assert 0.3 <= left <= 0.75  # neither trivial nor hopeless, so that a defense could show
    return left


MASKED = [
    d.Quantize(3),
    d.Quantize(4),
    d.JPEG(75),
    d.JPEG(50),
    d.GradientNoise(30.0),
    d.Temperature(0.01),
    d.OutputRounding(2),
    d.ReverseSigmoid(),
]


@pytest.mark.parametrize("transform", MASKED, ids=repr)
def test_a_masking_defense_is_worth_at_most_five_points_under_its_adaptive_attack(
    transform: d.Transform, natural: nn.Module, digits: tuple[Tensor, Tensor], undefended: float
) -> None:
    model = transform(natural)
    x, y = digits
    assert float((model(x).argmax(1) == y).float().mean()) >= 0.9
    attack = EVERY_CLASS if isinstance(transform, d.OutputRounding | d.ReverseSigmoid) else ADAPTIVE
    assert robust(model.adaptive(), digits, attack) <= undefended + 0.05


@pytest.mark.parametrize(
    "transform",
    [d.Quantize(3), d.GradientNoise(30.0), d.Temperature(0.01), d.OutputRounding(2)],
    ids=repr,
)
def test_plain_pgd_is_fooled_by_it(
    transform: d.Transform, natural: nn.Module, digits: tuple[Tensor, Tensor], undefended: float
) -> None:
    """So the test above is one of the attack, not of a defense that was none from the start."""
    assert robust(transform(natural), digits, NAIVE) >= undefended + 0.25


def test_distillation_at_100_is_worth_at_most_five_points_under_a_margin(
    digits: tuple[Tensor, Tensor], undefended: float
) -> None:
    torch.manual_seed(0)
    distilled = trained(d.Distillation(100.0), SmallCNN())
    assert robust(distilled, digits, NAIVE) >= undefended + 0.25
    assert robust(distilled, digits, ADAPTIVE) <= undefended + 0.05


@pytest.mark.parametrize("transform", [d.KWinners(0.1), d.MeanSparse(images(), sigmas=1.0)], ids=repr)
def test_jumps_in_the_middle_of_the_network_overstate_it_under_the_networks_own_gradient(
    transform: d.Transform, natural: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    if isinstance(transform, d.MeanSparse):
        transform = d.MeanSparse(load("digits", split="train", limit=500).x, sigmas=1.0)
    model = transform(natural)
    honest, adaptive = robust(model, digits, ADAPTIVE), robust(model.adaptive(), digits, ADAPTIVE)
    assert adaptive <= honest - 0.03

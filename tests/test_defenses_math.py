"""Each defense against its paper's formula, computed once more: in NumPy, or where a linear network has an answer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import linear, relu
from reference import Array, distances, double, layer
from runs import assert_equal, state
from sparring.attacks import PGD
from sparring.defenses import (
    ARD,
    AWP,
    CURE,
    FGSMRS,
    HAT,
    LIET,
    MART,
    NFGSM,
    TRADES,
    AdversarialTraining,
    Context,
    Defense,
    Distillation,
    FreeAT,
    GradAlign,
    InputGradient,
    Jacobian,
    LocalLinearity,
    LogitPairing,
    RobustDistillation,
    Standard,
)
from sparring.defenses.context import viewed
from sparring.model import Model
from sparring.problem import Threat
from sparring.processes import Processes
from sparring.threats import L2, Linf
from sparring.training import train
from sparring.training.learner import Step

ROWS, FEATURES, CLASSES, EPS = 9, 12, 3, 0.05
LINF = Linf(EPS)
# Inside the range by more than any step here, so that nothing is clipped unless a test wants it.
X = 0.3 + 0.4 * torch.rand(ROWS, FEATURES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.arange(ROWS) % CLASSES
KL = PGD(steps=4, objective="kl")
NORMS = pytest.mark.parametrize("threat", [LINF, L2(EPS)], ids=["linf", "l2"])


def posed(net: nn.Module, threat: Threat = LINF, x: Tensor = X, y: Tensor = Y, **more: Any) -> Context:
    return Context(viewed(Model.of(net), "as-is"), x, y, torch.arange(len(x)), threat, seed=0, epoch=1, **more)


def learner(net: nn.Module, lr: float = 0.0, rows: int = ROWS, **more: Any) -> Step:
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    return Step(net, torch.optim.SGD(weights, lr=lr), Processes(), rows, **{"clip": None, "average": None, **more})


# The pieces, in NumPy.


def softmax(z: Array) -> Array:
    powers = np.exp(z - z.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def hot(y: Tensor, classes: int = CLASSES) -> Array:
    return np.eye(classes)[y.numpy()]


def ce(z: Array, y: Tensor, smoothing: float = 0.0) -> Array:
    target = (1 - smoothing) * hot(y, z.shape[1]) + smoothing / z.shape[1]
    return -(target * np.log(softmax(z))).sum(1)


def kl(p: Array, q: Array) -> Array:
    return (p * np.log(p / q)).sum(1)


def slope(net: nn.Module, x: Tensor, y: Tensor = Y) -> Array:
    """The gradient of cross-entropy by the input of a network that is one linear layer: Wᵀ(p - onehot)."""
    weight, bias = layer(net)
    return (softmax(double(x) @ weight.T + bias) - hot(y, len(bias))) @ weight


def along(threat: Threat, gradient: Array) -> Array:
    """The longest step inside the ball that the gradient points to."""
    if isinstance(threat, Linf):
        return EPS * np.sign(gradient)
    return EPS * gradient / np.linalg.norm(gradient, axis=1, keepdims=True)


def close(found: Tensor, expected: Array, tolerance: float = 1e-10) -> None:
    np.testing.assert_allclose(double(found), expected, rtol=tolerance, atol=tolerance)


def answers(context: Context, *points: Tensor) -> list[Array]:
    """What the network says there, asked directly."""
    return [double(context.model(point)) for point in points]


# Attack, then learn.


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@NORMS
def test_adversarial_training_is_cross_entropy_at_the_strongest_examples(threat: Threat, smoothing: float) -> None:
    context = posed(relu(FEATURES, CLASSES).double(), threat, label_smoothing=smoothing)
    z, moved = answers(context, X, context.adversarial(PGD(steps=4)))
    close(Standard().loss(context), ce(z, Y, smoothing))
    close(AdversarialTraining(PGD(steps=4)).loss(context), ce(moved, Y, smoothing))
    close(
        AdversarialTraining(PGD(steps=4), 0.3).loss(context), 0.3 * ce(moved, Y, smoothing) + 0.7 * ce(z, Y, smoothing)
    )
    assert (ce(moved, Y) > ce(z, Y)).all()


@NORMS
def test_trades(threat: Threat) -> None:
    context = posed(relu(FEATURES, CLASSES).double(), threat)
    z, moved = answers(context, X, context.adversarial(KL))
    close(TRADES(2.5, KL).loss(context), ce(z, Y) + 2.5 * kl(softmax(z), softmax(moved)))


def test_trades_climbs_to_the_corner_of_the_ball_where_the_answer_differs_most() -> None:
    net = linear(FEATURES, 2).double()
    weight, _ = layer(net)
    moved = posed(net, y=Y % 2).adversarial(KL)
    # Of two classes KL grows both ways along the difference of their weights, and faster nowhere else.
    corner = EPS * np.sign(weight[1] - weight[0])
    signs = np.sign((double(moved - X) * corner).sum(1, keepdims=True))
    close(moved, double(X) + signs * corner)


def test_trades_attacks_in_evaluation_mode_and_learns_in_training_mode() -> None:
    class Halved(nn.Module):
        """Says less in training mode."""

        def __init__(self) -> None:
            super().__init__()
            self.net = relu(FEATURES, CLASSES).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x) * (0.5 if self.training else 1.0)

    net = Halved()
    context = posed(net)
    moved = context.adversarial(KL)
    z, attacked = (double(net.net(point)) / 2 for point in (X, moved))
    close(TRADES(2.5, KL).loss(context), ce(z, Y) + 2.5 * kl(softmax(z), softmax(attacked)))
    assert_equal(moved, posed(net.net).adversarial(KL))


@NORMS
def test_mart(threat: Threat) -> None:
    context = posed(relu(FEATURES, CLASSES).double(), threat)
    p, q = (softmax(z) for z in answers(context, X, context.adversarial(PGD(steps=4))))
    own = hot(Y) == 1
    boosted = -np.log(q[own]) - np.log(1.0001 - np.where(own, 0, q).max(1))
    close(MART(3.0, PGD(steps=4)).loss(context), boosted + 3.0 * kl(p, q) * (1 - p[own]))


def test_logit_pairing_of_a_linear_network_is_the_length_of_the_weights_times_the_step() -> None:
    net = linear(FEATURES, CLASSES).double()
    context = posed(net)
    step = double(context.adversarial(PGD(steps=3)) - X)
    close(LogitPairing(0.7, PGD(steps=3)).loss(context), 0.7 * ((step @ layer(net)[0].T) ** 2).sum(1))


# One step.


@NORMS
def test_one_step_without_noise_is_fgsm(threat: Threat) -> None:
    net = linear(FEATURES, CLASSES).double()
    fgsm = double(X) + along(threat, slope(net, X))
    close(FGSMRS(noise=0, step=1).moved(posed(net, threat)), fgsm, 1e-6)
    close(NFGSM(noise=0, step=1).moved(posed(net, threat)), fgsm)
    weight, bias = layer(net)
    close(NFGSM(noise=0, step=1).loss(posed(net, threat)), ce(fgsm @ weight.T + bias, Y))
    # Twice the step: the one comes back to the ball, the other does not.
    close(FGSMRS(noise=0, step=2).moved(posed(net, threat)), fgsm, 1e-6)
    close(NFGSM(noise=0, step=2).moved(posed(net, threat)), 2 * fgsm - double(X))


@pytest.mark.parametrize(("norm", "threat"), [("linf", Linf(0.2)), ("l2", L2(0.6))])
def test_a_random_start_stays_in_the_ball_and_noise_may_leave_it_but_not_the_range(norm: str, threat: Any) -> None:
    net, x = relu(FEATURES, CLASSES).double(), torch.rand(ROWS, FEATURES, dtype=torch.float64)
    inside, outside = (kind().moved(posed(net, threat, x)) for kind in (FGSMRS, NFGSM))
    for moved in (inside, outside):
        assert bool(((moved >= 0) & (moved <= 1)).all())
    assert (distances(norm, inside, x) <= threat.eps * (1 + 1e-6)).all()
    beyond = distances(norm, outside, x) / threat.eps
    assert beyond.max() > 1.3
    assert beyond.max() <= 3
    if norm == "linf":
        # The start is uniform in the ball, so a step of 1.25 the radius brings most inputs to its edge or the range's.
        edge = ((inside - x).abs() > threat.eps * (1 - 1e-9)) | (inside == 0) | (inside == 1)
        assert edge.double().mean() > 0.5
        assert edge.double().mean() < 1


def test_the_noise_of_one_step_training_is_new_in_every_epoch_and_an_examples_own() -> None:
    net = relu(FEATURES, CLASSES).double()

    def moved(epoch: int, index: Sequence[int]) -> Tensor:
        at = torch.tensor(index)
        model = viewed(Model.of(net), "as-is")
        return NFGSM().moved(Context(model, X[at], Y[at], at, Linf(EPS), seed=0, epoch=epoch))

    first = moved(1, [0, 1, 2, 3])
    assert not torch.equal(first, moved(2, [0, 1, 2, 3]))
    torch.testing.assert_close(first, moved(1, [3, 2, 1, 0]).flip(0))


@NORMS
def test_free_training_is_algorithm_1(threat: Threat) -> None:
    """Two batches, the second smaller, with the noise of the first; weights and noise from the same gradients."""
    net, lr = linear(FEATURES, CLASSES).double(), 0.5
    weight, bias = layer(net)
    noise, memory = np.zeros((ROWS, FEATURES)), {}
    for rows in (ROWS, ROWS - 4):
        x, y, noise = double(X[:rows]), Y[:rows], noise[:rows]
        for _ in range(3):
            error = softmax((x + noise) @ weight.T + bias) - hot(y)
            uphill = along(threat, error @ weight)
            weight, bias = weight - lr * error.T @ (x + noise) / rows, bias - lr * error.mean(0)
            noise = noise + uphill
            if isinstance(threat, Linf):
                noise = np.clip(noise, -EPS, EPS)
            else:
                noise = noise * np.minimum(1, EPS / np.linalg.norm(noise, axis=1, keepdims=True))
        FreeAT(3).learn(posed(net, threat, X[:rows], y, memory=memory), learner(net, lr, rows))
        close(memory["free noise"], noise, 1e-6)
    close(net[1].weight, weight, 1e-6)
    close(net[1].bias, bias, 1e-6)


def test_free_training_carries_the_noise_of_a_position_not_of_an_example() -> None:
    net, memory = linear(FEATURES, CLASSES).double(), {"free noise": torch.full((4, FEATURES), EPS)}
    start = FreeAT()._start(posed(net, memory=memory))
    close(start[:4], double(X[:4]) + EPS, 1e-7)
    assert torch.equal(start[4:], X[4:])
    assert torch.equal(FreeAT()._start(posed(net, memory=memory, place=3))[1:], X[1:])


@NORMS
def test_liet(threat: Threat) -> None:
    net = linear(FEATURES, CLASSES).double()
    context = posed(net, threat, progress=0.25)
    loss = LIET(strength=8.0, smoothing=0.0).loss(context)
    (start, _), (end, _) = context._looks
    assert bool(context.region.contains(start.detach()).all())
    if isinstance(threat, Linf):
        close(end, double(X) + np.clip(double(start - X) + along(threat, slope(net, start)), -EPS, EPS), 1e-9)
    p, q = (softmax(z) for z in answers(context, start, end))
    middle = (p + q) / 2
    close(loss, ce(np.log(q), Y) + 8.0 * 0.25 * (kl(p, middle) + kl(q, middle)) / 2)
    # Where a grey image gives way, class by class.
    grey, every = torch.full((CLASSES, FEATURES), 0.5, dtype=torch.float64), torch.arange(CLASSES)
    close(context.memory["liet informed"], along(threat, slope(net, grey, every)))


def test_liet_starts_at_what_the_label_informs_up_to_sign_where_no_noise_was_swapped_in() -> None:
    net = linear(400, CLASSES).double()
    x = 0.3 + 0.4 * torch.rand(ROWS, 400, dtype=torch.float64)
    context = posed(net, Linf(EPS), x)
    start = LIET()._start(context)
    informed = context.memory["liet informed"][Y]
    agree = ((start - x) * informed.sign() / EPS).round(decimals=9)
    kept = torch.maximum((agree == 1).double().mean(1), (agree == -1).double().mean(1))
    assert bool((kept > 0.45).all())  # at least half, but for chance
    assert bool((kept < 0.95).all())
    assert {float(sign) for sign in agree.mean(1).sign()} == {1.0, -1.0}
    assert bool((agree.abs() <= 1).all())


def test_liet_renews_what_it_knows_every_20_batches() -> None:
    net, old = linear(FEATURES, CLASSES).double(), torch.zeros(CLASSES, FEATURES, dtype=torch.float64)
    for step, renewed in ((1, False), (19, False), (20, True), (21, False), (40, True)):
        memory = {"liet informed": old}
        LIET().loss(posed(net, step=step, memory=memory))
        assert (memory["liet informed"] is not old) == renewed


def test_the_smoothing_of_liet_spreads_its_share_over_the_wrong_classes() -> None:
    context = posed(linear(FEATURES, CLASSES).double())
    # One class far above the rest: the loss is the share that lies elsewhere times how far.
    far = 1000.0 * torch.eye(CLASSES, dtype=torch.float64)[Y]
    share = 0.6 * (1 - 1 / CLASSES) / 0.9
    close(LIET(smoothing=0.6)._smoothed(far, context), np.full(ROWS, share * 1000), 1e-9)
    ten = posed(linear(FEATURES, 10).double())
    far_of_ten = 1000.0 * torch.eye(10, dtype=torch.float64)[Y]
    close(LIET(smoothing=0.6)._smoothed(far_of_ten, ten), np.full(ROWS, 600.0), 1e-9)
    z = context.model(X)
    logs = np.log(softmax(double(z)))
    wrong = np.where(hot(Y) == 1, np.nan, -logs)
    own = -(logs * hot(Y)).sum(1)
    loss = double(LIET(smoothing=0.6)._smoothed(z, context))
    assert (loss >= (1 - share) * own + share * np.nanmin(wrong, 1)).all()
    assert (loss <= (1 - share) * own + share * np.nanmax(wrong, 1)).all()


@NORMS
def test_grad_align_of_two_linear_classes_costs_nothing(threat: Threat) -> None:
    net, y = linear(FEATURES, 2).double(), Y % 2
    weight, bias = layer(net)
    moved = double(X) + along(threat, slope(net, X, y))
    close(GradAlign(50.0).loss(posed(net, threat, y=y)), ce(moved @ weight.T + bias, y), 1e-6)


def test_grad_align_is_the_angle_between_two_slopes_of_which_one_stands_still() -> None:
    net = linear(FEATURES, CLASSES).double()
    context = posed(net, Linf(0.2))
    loss = GradAlign(0.7).loss(context)
    near = context.region.sample(context.draws("grad align"), context.index, 0)
    here, there = slope(net, X), slope(net, near)
    cosine = (here * there).sum(1) / np.linalg.norm(here, axis=1) / np.linalg.norm(there, axis=1)
    ((_, moved),) = context._looks
    close(loss, ce(double(moved), Y) + 0.7 * (1 - cosine))
    assert (cosine < 1 - 1e-5).any()

    # Differentiated by the weights, with the slope at x held where it is.
    (found,) = torch.autograd.grad(loss.sum(), net[1].weight)
    fixed, at = torch.from_numpy(here), near.detach().requires_grad_(True)
    terms = nn.functional.cross_entropy(net(at), Y, reduction="none")
    (other,) = torch.autograd.grad(terms.sum(), at, create_graph=True)
    apart = 1 - nn.functional.cosine_similarity(fixed, other, dim=1)
    point = X + 0.2 * fixed.sign()
    whole = nn.functional.cross_entropy(net(point), Y, reduction="sum") + 0.7 * apart.sum()
    torch.testing.assert_close(found, torch.autograd.grad(whole, net[1].weight)[0])


def test_grad_align_is_differentiated_at_the_statistics_it_was_looked_at_with() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(FEATURES, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, CLASSES)).double()
    still = copy.deepcopy(net).eval()
    context = posed(still, Linf(0.2))
    near = context.region.sample(context.draws("grad align"), context.index, 0).requires_grad_(True)
    terms = nn.functional.cross_entropy(still(near), Y, reduction="none")
    (other,) = torch.autograd.grad(terms.sum(), near, create_graph=True)
    apart = 1 - nn.functional.cosine_similarity(context.seen(X).gradient, other, dim=1)
    (expected,) = torch.autograd.grad(apart.sum(), still[0].weight)

    def learned(strength: float) -> Tensor:
        own = copy.deepcopy(net).train()
        return torch.autograd.grad(GradAlign(strength).loss(posed(own, Linf(0.2))).sum(), own[0].weight)[0]

    torch.testing.assert_close(learned(1.0) - learned(0.0), expected)


# Penalties.


def test_the_input_gradient_of_a_linear_network_has_a_closed_form() -> None:
    net = linear(FEATURES, CLASSES).double()
    close(InputGradient(0.7).loss(posed(net)), 0.7 * (slope(net, X) ** 2).sum(1))


def test_the_jacobian_of_orthonormal_weights_is_exact_in_any_projection() -> None:
    net = linear(FEATURES, CLASSES).double()
    with torch.no_grad():
        net[1].weight.copy_(3 * torch.linalg.qr(net[1].weight.T).Q.T)
    for projections in (1, 4):
        # ||W||² is 9 for each of the rows, and all of them are at right angles.
        close(Jacobian(0.5, projections).loss(posed(net)), np.full(ROWS, 0.5 / 2 * 9 * CLASSES))


def test_the_jacobian_is_the_frobenius_norm_on_average() -> None:
    net = relu(FEATURES, 4).double()
    exact = torch.func.vmap(torch.func.jacrev(lambda x: net(x[None])[0]))(X).square().sum((1, 2))
    found = Jacobian(2.0, projections=1000).loss(posed(net))
    torch.testing.assert_close(found, exact, rtol=0.1, atol=0)  # five standard deviations
    assert float((found / exact).detach().mean()) == pytest.approx(1, abs=0.03)
    assert not torch.allclose(Jacobian(2.0).loss(posed(net)), exact, rtol=0.02)
    (ours,), (theirs,) = (torch.autograd.grad(loss.sum(), net[1].weight) for loss in (found, exact))
    torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.1 * float(theirs.abs().max()))


@NORMS
def test_cure_is_the_difference_of_two_slopes(threat: Threat) -> None:
    net = linear(FEATURES, CLASSES).double()
    there = X + torch.from_numpy(1.5 * along(threat, slope(net, X)))
    change = slope(net, there) - slope(net, X)
    close(CURE(strength=4.0, reach=1.5).loss(posed(net, threat)), 4.0 * (change**2).sum(1))


def test_the_loss_of_what_is_wrong_beyond_doubt_is_linear_and_local_linearity_is_the_rise_alone() -> None:
    net = linear(FEATURES, 2).double()
    with torch.no_grad():
        net[1].bias.copy_(torch.tensor([200.0, 0.0]))
    context = posed(net, y=torch.ones(ROWS, dtype=torch.long))
    close(LocalLinearity(curved=4.0, steep=0.0).loss(context), np.zeros(ROWS))
    weight, _ = layer(net)
    rise = double(LocalLinearity().bent(context) - X) @ (weight[0] - weight[1])
    close(LocalLinearity(curved=4.0, steep=3.0).loss(context), 3.0 * np.abs(rise))


@NORMS
def test_local_linearity_is_the_gap_to_the_tangent_and_the_rise(threat: Threat) -> None:
    net = linear(FEATURES, CLASSES).double()
    context = posed(net, threat)
    moved = LocalLinearity(steps=3).bent(context)
    assert bool(context.region.contains(moved).all())
    z, there = answers(context, X, moved)
    rise = (double(moved - X) * slope(net, X)).sum(1)
    gap = np.abs(ce(there, Y) - ce(z, Y) - rise)
    close(LocalLinearity(4.0, 3.0, steps=3).loss(context), 4.0 * gap + 3.0 * np.abs(rise))
    assert (gap > 0).all()


def test_local_linearity_searches_where_two_linear_classes_bend_most() -> None:
    net, y = linear(FEATURES, 2).double(), Y % 2
    weight, _ = layer(net)
    context = posed(net, y=y)
    start = double(context.region.sample(context.draws("local linearity"), context.index, 0) - X)
    # The gap grows both ways along the difference of the weights: on from where the start lies, 1.5 radii in all.
    difference = weight[1] - weight[0]
    uphill = np.sign((start * difference).sum(1, keepdims=True)) * np.sign(difference)
    close(LocalLinearity(steps=4).bent(context), double(X) + np.clip(start + 1.5 * EPS * uphill, -EPS, EPS), 1e-9)


# Teachers.


def pair() -> tuple[Context, nn.Module]:
    """A student's batch, and its teacher, which says something else."""
    teacher = relu(FEATURES, CLASSES, seed=1).double()
    with torch.no_grad():
        teacher[3].weight.mul_(4)
    return posed(relu(FEATURES, CLASSES).double()), teacher


@pytest.mark.parametrize("temperature", [1.0, 20.0, 100.0])
def test_distillation_pulls_the_student_to_the_teacher_at_its_temperature(temperature: float) -> None:
    context, teacher = pair()
    loss = Distillation(temperature, teacher).loss(context)
    logits = context.logits(X)
    p, q = softmax(double(teacher(X)) / temperature), softmax(double(logits) / temperature)
    close(loss, -temperature * (p * np.log(q)).sum(1))
    close(torch.autograd.grad(loss.sum(), logits)[0], q - p)


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_standard_training_at_a_temperature_keeps_the_size_of_its_gradient(temperature: float) -> None:
    context, _ = pair()
    loss = Standard(temperature).loss(context)
    logits = context.logits(X)
    close(loss, temperature * ce(double(logits) / temperature, Y))
    close(torch.autograd.grad(loss.sum(), logits)[0], softmax(double(logits) / temperature) - hot(Y))


def test_rslad() -> None:
    context, teacher = pair()
    loss = RobustDistillation(teacher, robust=0.7, attack=KL).loss(context)
    soft = softmax(double(teacher(X)))
    moved = context.adversarial(KL, reference=context.taught(teacher, X))
    z, attacked = (softmax(z) for z in answers(context, X, moved))
    close(loss, 0.7 * kl(soft, attacked) + 0.3 * kl(soft, z))
    assert sum(key[0] == "adversarial" for key in context._made) == 1
    # It climbs away from the teacher, not from what the student says itself.
    assert not torch.equal(moved, context.adversarial(KL))
    assert kl(soft, attacked).mean() > kl(soft, softmax(answers(context, context.adversarial(KL))[0])).mean()


def test_ard() -> None:
    context, teacher = pair()
    moved = context.adversarial(PGD(steps=4))
    z, attacked = answers(context, X, moved)
    taught = kl(softmax(double(teacher(X)) / 30), softmax(attacked / 30))
    close(ARD(teacher, 30.0, 1.0, PGD(steps=4)).loss(context), 900 * taught)
    close(ARD(teacher, 30.0, 0.8, PGD(steps=4)).loss(context), 0.8 * 900 * taught + 0.2 * ce(z, Y))


def test_hat() -> None:
    helper = linear(FEATURES, CLASSES, seed=1).double()
    with torch.no_grad():
        helper[1].bias.copy_(-helper[1].weight @ X.mean(0))
    context = posed(relu(FEATURES, CLASSES).double(), Linf(0.2))
    moved = context.adversarial(KL)
    z, attacked, far = answers(context, X, moved, X + 2.0 * (moved - X))
    said = helper(moved).argmax(1)
    expected = ce(z, Y) + 2.5 * kl(softmax(z), softmax(attacked)) + 0.4 * ce(far, said)
    close(HAT(2.5, 0.4, 2.0, helper, KL).loss(context), expected)
    assert not torch.equal(said, Y)
    assert not torch.equal(said, helper(X).argmax(1))


# The algebra.


def test_the_loss_of_a_sum_is_the_sum_of_the_losses() -> None:
    net, (one, two, three) = relu(FEATURES, CLASSES).double(), (TRADES(attack=KL), InputGradient(), Jacobian())

    def loss(defense: Defense) -> Tensor:
        return defense.loss(posed(net))

    for defense, expected in (
        (one + 0.5 * two, loss(one) + 0.5 * loss(two)),
        (0.5 * (one + two) + three, 0.5 * (loss(one) + loss(two)) + loss(three)),
        (one + two + three, loss(one) + loss(two) + loss(three)),
        (one * 2, 2 * loss(one)),
        (one + 0 * two, loss(one)),
        (3 * (2 * one), 6 * loss(one)),
    ):
        torch.testing.assert_close(loss(defense), expected, rtol=1e-12, atol=1e-12)
    assert one + (two + three) == (one + two) + three
    assert repr(0.5 * (one + two)).startswith("0.5 * (TRADES(")


@pytest.mark.parametrize("penalty", [0.1 * InputGradient(), Jacobian() + CURE(), LogitPairing()], ids=repr)
def test_penalties_alone_are_added_to_cross_entropy(penalty: Defense) -> None:
    def trained(defense: Defense) -> dict[str, Tensor]:
        return state(train(relu(FEATURES, CLASSES), (X, Y), defense, Linf(EPS), epochs=2).model)

    alone = trained(penalty)
    assert_equal(alone, trained(Standard() + penalty))
    assert_equal(trained(AWP(penalty)), trained(AWP(Standard() + penalty)))
    assert any(not torch.equal(alone[name], value) for name, value in trained(Standard()).items())


# Adversarial weight perturbation.


@dataclass(frozen=True)
class Spying(Defense):
    """Cross-entropy that notes at which weights it was asked for."""

    seen: list[dict[str, Tensor]] = field(default_factory=list, compare=False, repr=False)

    def loss(self, context: Context) -> Tensor:
        net: Any = context.model.net
        self.seen.append({name: value.detach().clone() for name, value in state(net).items()})
        return context.cross_entropy(context.logits(context.x))


def normed() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES)).double()


def gradients(net: nn.Module) -> dict[str, Tensor]:
    """Of the batch's mean cross-entropy, in training mode; what BatchNorm counts is put back."""
    before = {name: value.clone() for name, value in net.named_buffers()}
    loss = nn.functional.cross_entropy(net(X), Y)
    found = torch.autograd.grad(loss, list(net.parameters()))
    for name, value in net.named_buffers():
        value.copy_(before[name])
    return dict(zip((name for name, _ in net.named_parameters()), found, strict=True))


def test_awp_learns_where_each_layer_has_moved_by_gamma_times_its_length() -> None:
    net, spy, gamma, lr = normed(), Spying(), 0.03, 0.1
    before, uphill = {name: value.detach().clone() for name, value in state(net).items()}, gradients(net)
    AWP(spy, gamma).learn(posed(net), learner(net, lr))
    first, second = spy.seen
    assert_equal(first, before)
    for name, slope in uphill.items():
        moved = second[name] - before[name]
        if slope.ndim == 1:
            assert not bool(moved.any())  # biases and norms stay
        else:
            length = gamma * before[name].norm()
            torch.testing.assert_close(moved.norm(), length, rtol=1e-9, atol=0)
            torch.testing.assert_close(moved, length * slope / slope.norm(), rtol=1e-9, atol=1e-12)
    # The gradient found there is followed from where the weights were.
    there = normed()
    there.load_state_dict(second)
    for name, slope in gradients(there).items():
        torch.testing.assert_close(state(net)[name].detach(), before[name] - lr * slope, rtol=1e-9, atol=1e-12)


def test_awp_gives_the_weights_back_to_the_last_bit_and_counts_a_batch_once() -> None:
    net = normed().float()
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    AWP(gamma=0.5).learn(posed(net, x=X.float()), learner(net, lr=0.0))
    assert_equal({name: value.detach() for name, value in net.named_parameters()}, before)
    assert int(net[1].num_batches_tracked) == 1
    bare = normed().float()
    AWP(gamma=0.0).learn(posed(bare, x=X.float()), learner(bare, lr=0.0))
    plain = normed().float()
    AdversarialTraining().learn(posed(plain, x=X.float()), learner(plain, lr=0.0))
    assert_equal(dict(bare.named_buffers()), dict(plain.named_buffers()))


def test_awp_attacks_once_at_the_weights_that_are_not_moved() -> None:
    net, seen = relu(FEATURES, CLASSES).double(), []

    class Listening(TRADES):
        def loss(self, context: Context) -> Tensor:
            seen.append(context.adversarial(self.attack))
            return super().loss(context)

    AWP(Listening(attack=KL), 0.2).learn(posed(net), learner(net, 0.1))
    assert seen[0] is seen[1]
    assert torch.equal(seen[0], posed(relu(FEATURES, CLASSES).double()).adversarial(KL))


def test_awp_of_no_size_and_before_it_begins_is_the_defense_it_wraps() -> None:
    def after(defense: Defense, **more: Any) -> dict[str, Tensor]:
        net = relu(FEATURES, CLASSES).double()
        defense.learn(posed(net, **more), learner(net, 0.1))
        return state(net)

    plain = after(TRADES(attack=KL))
    assert_equal(after(AWP(TRADES(attack=KL), 0.0)), plain)
    assert_equal(after(AWP(TRADES(attack=KL), 0.1, warmup=0.5), progress=0.49), plain)
    changed = after(AWP(TRADES(attack=KL), 0.1, warmup=0.5), progress=0.5)
    assert not torch.equal(changed["1.weight"], plain["1.weight"])


# The learner.


def test_the_gradient_is_clipped_to_its_length_over_all_weights() -> None:
    def step(clip: float | None) -> Tensor:
        net = relu(FEATURES, CLASSES).double()
        before = torch.cat([weight.detach().flatten() for weight in net.parameters()])
        Standard().learn(posed(net), learner(net, 1.0, clip=clip))
        return before - torch.cat([weight.detach().flatten() for weight in net.parameters()])

    free, bound = step(None), step(0.01)
    assert free.norm() > 0.02
    torch.testing.assert_close(bound, 0.01 * free / free.norm(), rtol=1e-4, atol=1e-12)
    torch.testing.assert_close(step(100.0), free)


def test_the_mean_is_over_the_batch_of_all_processes() -> None:
    net = relu(FEATURES, CLASSES).double()
    half = learner(net, rows=2 * ROWS)
    half.backward(Standard().loss(posed(net)))
    for weight, gradient in zip(net.parameters(), gradients(net).values(), strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, gradient / 2)
    assert half.losses == [pytest.approx(Standard().loss(posed(net)).mean().item() / 2)]

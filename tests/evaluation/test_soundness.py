"""Plans against proofs: nothing falls where it provably cannot, and what provably falls just beyond is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import sparring as sp
from bounds import Box, by_patterns, certified, flat, in_the_plane, layers, logits, to_classes
from models import Then, linear, relu, seeded
from reference import Array
from sparring.evaluation import Result
from sparring.threats import THREATS

NORMS = pytest.mark.parametrize("norm", THREATS)
UNIT, WIDE = Box(), Box(-1e6, 1e6)
FAR = (1e-6, 1.01, 1.5, 10.0, 1e3)  # times the exact distance; what is just inside is dear, and has its own test


@dataclass(frozen=True)
class Case:
    """A network, examples it gets right, and for each (N,) the exact distance to the nearest other class."""

    net: nn.Module
    x: Tensor
    y: Tensor
    exact: Array
    box: Box

    def take(self, keep: Array) -> Case:
        at = torch.from_numpy(np.flatnonzero(keep))
        return Case(self.net, self.x[at], self.y[at], self.exact[at.numpy()], self.box)

    def evaluated(self, norm: str, radii: Array, plan: str = "standard") -> Result:
        """Every example once for each of its radii (N, M)."""
        times = radii.shape[1]
        x, y = self.x.repeat_interleave(times, 0), self.y.repeat_interleave(times)
        threat = THREATS[norm](torch.from_numpy(radii.reshape(-1)).float())
        return sp.evaluate(sp.Model(self.net, bounds=(self.box.low, self.box.high)), (x, y), threat, plan=plan)

    def radii(self, norm: str, times: Sequence[float] = FAR) -> Array:
        """(N, M) radii around the exact distance; in L0 one pixel less, as many, one more and twice as many."""
        if norm != "l0":
            return self.exact[:, None] * np.array(times)
        exact = self.exact[:, None]
        return np.minimum(np.hstack([exact - 1, exact, exact + 1, 2 * exact]), self.x[0].numel())

    def stands(self, norm: str, times: Sequence[float] = FAR, plan: str = "standard") -> tuple[Array, Array]:
        """(N, M) what the plan leaves standing, and what does stand in truth."""
        radii = self.radii(norm, times)
        return self.evaluated(norm, radii, plan).robust.numpy().reshape(radii.shape), radii < self.exact[:, None]


def flat_case(
    norm: str, classes: int, features: int, box: Box, rows: int = 12, seed: int = 0, spread: float = 0, scale: float = 1
) -> Case:
    """A linear network, its biases such that all classes occur; `spread` is that of the logarithms of its weights'
    lengths, and with it only examples whose nearest class has at least four others ahead of it by its logit."""
    net = linear(features, classes, seed=seed + classes)
    random = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        net[1].weight.mul_((spread * torch.randn(classes, 1, generator=random)).exp() * scale)
        net[1].bias.mul_(scale)
        if box == UNIT:
            net[1].bias.copy_(-net[1].weight.sum(1) / 2)
    draw = torch.rand if box == UNIT else torch.randn
    x = draw(400, features, generator=random)
    y = net(x).argmax(1)
    to = to_classes(norm, layers(net, (features,)), flat(x), y.numpy(), box)
    order = (-logits(layers(net, (features,)), flat(x))).argsort(1)
    rank = (order == to.argmin(1)[:, None]).argmax(1)
    case = Case(net, x, y, to.min(1), box)
    keep = np.isfinite(case.exact) & (case.exact > 1e-3) & (rank >= (5 if spread else 0))
    return case.take(keep & (keep.cumsum() <= rows))


# --- linear networks: the exact answer ---


@NORMS
@pytest.mark.parametrize(("classes", "features"), [(2, 16), (3, 20), (5, 24), (10, 40), (30, 60)])
def test_linear_networks_fall_beyond_the_exact_distance_and_never_before(
    norm: str, classes: int, features: int
) -> None:
    box = UNIT if norm == "l0" or classes in (3, 10) else WIDE
    stands, truth = flat_case(norm, classes, features, box).stands(norm)
    assert stands.tolist() == truth.tolist()


@pytest.mark.parametrize("norm", ["l1", "l0"])  # test_standard_plan has the others
def test_linear_networks_stand_just_inside_the_exact_distance(norm: str) -> None:
    stands, truth = flat_case(norm, 5, 20, UNIT, rows=8).stands(norm, (0.99, 0.999))
    assert stands.tolist() == truth.tolist()


@NORMS
@pytest.mark.parametrize(("classes", "features"), [(10, 40), (30, 60)])
def test_the_nearest_class_is_found_where_its_logit_ranks_it_fifth_or_lower(
    norm: str, classes: int, features: int
) -> None:
    stands, truth = flat_case(norm, classes, features, UNIT, rows=8, spread=1.5).stands(norm, (0.5, 1.01, 1.5, 10))
    assert stands.tolist() == truth.tolist()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_the_logits_changes_nothing(norm: str, scale: float) -> None:
    stands, truth = flat_case(norm, 10, 40, WIDE, scale=scale).stands(norm, (0.5, 1.01, 1.5, 10))
    assert stands.tolist() == truth.tolist()


@settings(max_examples=4)
@given(st.integers(0, 10**6), st.integers(2, 8), st.sampled_from(["linf", "l2", "l1", "l0"]))
def test_any_linear_network(seed: int, classes: int, norm: str) -> None:
    stands, truth = flat_case(norm, classes, 18, UNIT, rows=6, seed=seed).stands(norm, (0.5, 1.05, 2))
    assert stands.tolist() == truth.tolist()


# --- small networks of ReLUs ---


def mlp(*widths: int) -> nn.Module:
    pairs = [(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)]
    return nn.Sequential(nn.Flatten(), *[module for pair in pairs for module in pair][:-1])


def conv() -> nn.Module:
    last = nn.Flatten(), nn.Linear(36, 4)
    return nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(), *last)


def clouds(shape: Sequence[int], classes: int, rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points around one centre a class."""
    random = torch.Generator().manual_seed(seed)
    centres = torch.rand(classes, *shape, generator=random)
    y = torch.arange(rows) % classes
    return (centres[y] + 0.15 * torch.randn(rows, *shape, generator=random)).clamp(0, 1), y


def fitted(net: nn.Module, x: Tensor, y: Tensor, steps: int = 60) -> nn.Module:
    """A few steps, so that there are margins."""
    adam = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(steps):
        adam.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        adam.step()
    return net


def curved(net: nn.Module, shape: Sequence[int], classes: int, trained: bool, rows: int) -> Case:
    """Examples the network gets right; what is exact about them is not known yet."""
    x, y = clouds(shape, classes, 4 * rows, seed=classes)
    if trained:
        net = fitted(net, x, y)
    y = y if trained else net(x).argmax(1)
    right = (net(x).argmax(1) == y).numpy()
    return Case(net, x, y, np.zeros(len(x)), Box(channels=shape[0] if len(shape) == 3 else 1)).take(
        right & (right.cumsum() <= rows)
    )


def test_the_proofs_agree() -> None:
    """Two exact solvers written differently, a certificate that never promises more, and a grid."""
    case = curved(seeded(lambda: mlp(2, 5, 3), 3), (2,), 3, trained=True, rows=6)
    known = layers(case.net, (2,)), flat(case.x), case.y.numpy(), case.box
    assert np.allclose(logits(known[0], known[1]), case.net(case.x).detach().numpy(), atol=1e-5)
    for norm in ("linf", "l2", "l1"):
        exact = in_the_plane(norm, *known)
        assert np.allclose(exact, by_patterns(norm, *known), rtol=1e-5)
        assert (certified(norm, *known) <= exact).all()
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 400)] * 2), -1).reshape(-1, 2)
    said = logits(known[0], grid).argmax(1)
    for norm, order in (("linf", np.inf), ("l2", 2), ("l1", 1)):  # and no point of a fine grid contradicts them
        for row, least in enumerate(in_the_plane(norm, *known)):
            found = np.linalg.norm(grid[said != known[2][row]] - known[1][row], ord=order, axis=1).min()
            assert least - 1e-9 <= found <= least + 0.01


@pytest.mark.parametrize(
    ("norm", "trained"),
    [("linf", True), ("l2", True), ("l1", True), ("l0", True), ("linf", False), ("l0", False)],
)
def test_networks_in_the_plane_fall_beyond_the_exact_distance_and_never_before(norm: str, trained: bool) -> None:
    case = curved(seeded(lambda: mlp(2, 12, 4), 4), (2,), 4, trained, rows=40)
    exact = in_the_plane(norm, layers(case.net, (2,)), flat(case.x), case.y.numpy(), case.box)
    case = Case(case.net, case.x, case.y, exact, case.box).take(np.isfinite(exact) & (exact > 1e-3))
    stands, truth = case.stands(norm, (0.98, 1.03) if trained else (0.5, 1.03))
    assert stands.tolist() == truth.tolist()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_networks_of_few_relus_fall_beyond_the_exact_distance_and_never_before(norm: str) -> None:
    case = curved(seeded(lambda: mlp(5, 5, 3), 1), (5,), 3, trained=True, rows=8)
    exact = by_patterns(norm, layers(case.net, (5,)), flat(case.x), case.y.numpy(), case.box)
    case = Case(case.net, case.x, case.y, exact, case.box).take(np.isfinite(exact) & (exact > 1e-3))
    stands, truth = case.stands(norm, (0.5, 1.03))
    assert stands.tolist() == truth.tolist()


@pytest.mark.parametrize(("name", "trained"), [("two layers", False), ("conv", True)])
@NORMS
def test_nothing_falls_inside_a_certified_radius(norm: str, name: str, trained: bool) -> None:
    build, shape = (conv, (2, 6, 6)) if name == "conv" else (lambda: mlp(12, 16, 16, 5), (12,))
    case = curved(seeded(build, 2), shape, 4 if name == "conv" else 5, trained, rows=8)
    radius = certified(norm, layers(case.net, shape), flat(case.x), case.y.numpy(), case.box)
    assert (radius > 0).any() or norm == "l0"
    case = Case(case.net, case.x, case.y, radius, case.box).take(radius >= 0)
    for plan in ("quick", "standard"):
        assert bool(case.evaluated(norm, case.exact[:, None], plan).robust.all())


def test_autoattack_breaks_nothing_inside_a_certified_radius() -> None:
    case = curved(seeded(lambda: mlp(6, 8, 3), 2), (6,), 3, trained=True, rows=8)
    radius = certified("linf", layers(case.net, (6,)), flat(case.x), case.y.numpy(), case.box)
    assert bool(case.evaluated("linf", radius.clip(min=0)[:, None], "autoattack").robust.all())


# --- degenerate ---


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_two_classes_equal_everywhere_count_as_the_first_of_them(norm: str) -> None:
    case = flat_case(norm, 2, 16, WIDE)
    twice = Then(case.net, lambda z: z[:, [0, 1, 1]])
    assert set(case.y.tolist()) == {0, 1}
    stands, truth = Case(twice, case.x, case.y, case.exact, case.box).stands(norm, (0.5, 1.01, 10))
    assert stands.tolist() == truth.tolist()


@pytest.mark.parametrize("plan", ["quick", "standard"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_constant_network_never_falls_and_is_never_believed(norm: str, plan: str) -> None:
    net = Then(linear(8, 3), lambda z: 0 * z + torch.tensor([1.0, 2.0, 3.0]))
    x = torch.rand(60, 8, generator=torch.Generator().manual_seed(1))
    result = sp.evaluate(net, (x, torch.full((60,), 2)), THREATS[norm](0.3), plan=plan)
    assert bool(result.robust.all())
    assert result.verdict != "reliable"


@NORMS
def test_an_example_alone_fares_as_it_does_in_company(norm: str) -> None:
    case = flat_case(norm, 3, 16, UNIT, rows=5)
    radii = case.radii(norm, (1.01,))[:, -1:]
    together = case.evaluated(norm, radii)
    alone = case.take(np.arange(5) == 0).evaluated(norm, radii[:1])
    assert alone.examples == 1
    assert alone.robust.tolist() == together.robust[:1].tolist()


@NORMS
@pytest.mark.parametrize("plan", ["quick", "standard"])
def test_at_radius_0_an_example_falls_if_it_is_wrong(norm: str, plan: str) -> None:
    net = relu(10, 4, seed=5)
    x = torch.rand(8, 10, generator=torch.Generator().manual_seed(2))
    said = net(x).argmax(1)
    y = torch.where(torch.arange(8) % 2 == 0, said, (said + 1) % 4)
    result = sp.evaluate(net, (x, y), THREATS[norm](0), plan=plan)
    assert result.robust.tolist() == (said == y).tolist()
    assert torch.equal(result.x, x)


def test_a_radius_each_is_the_radius_of_all() -> None:
    case = flat_case("linf", 4, 16, UNIT, rows=10)
    middle = float(np.median(case.exact)) * 1.003  # between two of the exact distances
    each = case.evaluated("linf", np.full((10, 1), middle))
    model = sp.Model(case.net, bounds=(0.0, 1.0))
    both = sp.evaluate(model, (case.x, case.y), sp.Linf(middle), plan="standard")
    assert torch.equal(each.robust, both.robust)
    assert torch.equal(each.x, both.x)


@NORMS
def test_one_logit_is_two_classes(norm: str) -> None:
    case = flat_case(norm, 2, 16, UNIT)
    one = Then(case.net, lambda z: z[:, 1:] - z[:, :1])
    stands, truth = Case(one, case.x, case.y, case.exact, case.box).stands(norm, (0.5, 1.01, 10))
    assert stands.tolist() == truth.tolist()

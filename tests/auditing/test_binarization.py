"""Z: a planted adversarial example exists, and a working attack finds it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from hiding import Before, Noise, Round
from sparring.auditing.binarization import Binary, _last_linear, _trained, binarization

LINF = sp.Linf(0.1)


def test_plain_pgd_finds_what_is_planted_in_an_honest_network(under: Any, natural: nn.Module, images: Any) -> None:
    with under(natural, images, LINF) as subject:
        before = subject.forwards, subject.backwards
        found = binarization(subject)
        assert subject.forwards > before[0]
        assert subject.backwards > before[1]
    assert found.statistic is not None
    assert found.statistic >= 0.75
    assert not found.flagged


def test_it_finds_nothing_where_gradients_are_dead(under: Any, natural: nn.Module, images: Any) -> None:
    with under(Before(Round(15), natural), images, LINF) as subject:
        found = binarization(subject)
    assert found.statistic == 0
    assert found.flagged
    assert found.says == "suspect"


@pytest.mark.parametrize("threat", [sp.Linf(0.1), sp.L2(0.5)], ids=["linf", "l2"])
def test_the_planted_point_is_on_the_edge_and_on_the_other_side_of_all_inner_points(
    under: Any, natural: nn.Module, images: Any, threat: Any
) -> None:
    with under(natural, images, threat) as subject:
        rows = subject.problem.take(torch.arange(8))
        seen: list[Tensor] = []
        handle = natural.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
        last = _last_linear(subject, natural)
        assert last is not None
        seen.clear()
        readout = _trained(subject, rows, last)
        handle.remove()
        edge, *inner = seen
        assert len(inner) == 97
        assert bool(rows.region.contains(edge).all())
        assert bool((rows.region.distance(edge) > 0.99 * rows.region.radius).all())
        assert all(bool((rows.region.distance(x) <= 0.951 * rows.region.radius).all()) for x in inner)
        assert bool(readout.separable.all())
        # The network up to its last layer and the readout, by hand.
        with torch.no_grad():
            side = [((natural[:-1](x) * readout.w).sum(1) + readout.b).double() for x in seen]
        assert bool((side[0] > 0).all())
        assert all(bool((one < 0).all()) for one in side[1:])
        told = Binary(subject, rows, last, readout).margins(edge)
        torch.testing.assert_close(told.double(), side[0], rtol=1e-3, atol=1e-3)


def test_a_readout_that_cannot_exist_is_zero_and_spoils_no_other(under: Any, natural: nn.Module, images: Any) -> None:
    """With a radius of 0 nothing can be told apart."""
    radius = torch.full((64,), 0.1)
    radius[::2] = 0
    with under(natural, images, sp.Linf(radius)) as subject:
        last = _last_linear(subject, natural)
        assert last is not None
        still = subject.problem.region.radius[:8] == 0
        readout = _trained(subject, subject.problem.take(torch.arange(8)), last)
        assert torch.equal(readout.separable, ~still)
        assert not bool(readout.w[still].any())
        assert bool(readout.w.isfinite().all())
        assert (binarization(subject).statistic or 0) >= 0.75


def test_it_says_nothing_where_there_is_nothing_to_read(under: Any, natural: nn.Module, images: Any) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(10, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.last(natural(x)))

    for net, why in (
        (lambda x: natural(x), "no last linear layer"),
        (nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten()), "no last linear layer"),
        (Twice(), "no last linear layer"),
        (Before(Noise(1.0), natural), "random"),
    ):
        x = images[0]
        with torch.no_grad():
            y = sp.Model(net)(x).argmax(1)
        with under(net, (x, y), LINF) as subject:
            found = binarization(subject)
        assert found.statistic is None
        assert not found.flagged
        assert why in found.meaning


@pytest.mark.parametrize("size", [1, 7])
def test_it_does_not_depend_on_the_batch(under: Any, natural: nn.Module, images: Any, size: int) -> None:
    with under(natural, images, LINF) as subject:
        whole = binarization(subject).statistic
    with under(natural, images, LINF, batch_size=size) as subject:
        assert binarization(subject).statistic == whole

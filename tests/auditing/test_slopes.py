"""Single gradients: dead, absent, noisy, wrong; and exact where the model is linear."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from hiding import Before, Detached, InNumpy, Noise, NoisyHook, Reversed, Round, StraightThrough
from models import linear
from sparring.auditing.finding import Finding
from sparring.auditing.slopes import Slopes, correlated, differ, foretold, gain, slopes, used
from sparring.objectives import margin

FLAT = sp.Linf(0.1)


def middle(net: nn.Module, rows: int = 40) -> tuple[Tensor, Tensor]:
    """Points away from the edges of the range, and what the network says of them."""
    x = 0.4 + 0.2 * torch.rand(rows, 16, generator=torch.Generator().manual_seed(0))
    return x, net(x).argmax(1)


def found(seen: Slopes) -> dict[str, Finding]:
    return {finding.name: finding for finding in seen.findings}


def flags(seen: Slopes) -> set[str]:
    return {finding.name for finding in seen.findings if finding.flagged}


@pytest.mark.parametrize("threat", [sp.Linf(0.1), sp.L2(0.1), sp.L1(0.1)], ids=["linf", "l2", "l1"])
def test_a_linear_models_gradient_foretells_everything(under: Any, threat: Any) -> None:
    net = linear(16, 2)
    with under(net, middle(net), threat) as subject:
        seen = slopes(subject)
        rows = subject.problem
        gradient = subject.gradient("again", rows, margin).gradient

        def score(x: Tensor) -> Tensor:
            return margin(net(x).detach(), rows.goal)

        gains = gain(rows, gradient, score)
        torch.testing.assert_close(gains, torch.ones_like(gains), rtol=1e-2, atol=0)
        for share in (0.25, 1.0):
            told, rise = foretold(rows, gradient, score, share)
            torch.testing.assert_close(told, rise, rtol=1e-2, atol=1e-3)
    assert seen.usable
    assert not seen.flat
    assert not seen.misleading
    assert not flags(seen)
    said = found(seen)
    assert said["G4 tiny differences"].statistic == pytest.approx(1, abs=1e-3)
    assert said["G4 differences"].statistic == pytest.approx(1, abs=1e-3)
    assert said["G4 gain"].statistic == 1
    assert said["G2 dead gradient"].statistic == 0
    assert said["G5 randomness"].statistic == pytest.approx(1)
    assert said["G6 adjoint"].statistic == pytest.approx(0, abs=1e-5)


def test_rounding_is_dead(under: Any) -> None:
    net = Before(Round(), linear(16, 2))
    with under(net, middle(net), FLAT) as subject:
        seen = slopes(subject)
    assert seen.usable
    assert seen.flat
    assert seen.misleading
    assert found(seen)["G2 dead gradient"].statistic == 1
    assert found(seen)["G2 dead gradient"].says == "suspect"
    assert "softmax" not in found(seen)["G2 dead gradient"].meaning


def test_a_saturated_softmax_is_told_from_a_dead_network(under: Any) -> None:
    net = nn.Sequential(linear(16, 2), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(1e5 * torch.eye(2))
    with under(net, middle(net), FLAT) as subject:
        seen = slopes(subject)
    assert found(seen)["G2 dead gradient"].statistic == 1
    assert "softmax is saturated" in found(seen)["G2 dead gradient"].meaning
    assert not seen.flat


@pytest.mark.parametrize("front", [Detached(), InNumpy()], ids=["detach", "numpy"])
def test_a_cut_graph_is_all_there_is_to_say(under: Any, front: nn.Module) -> None:
    net = Before(front, linear(16, 2))
    with torch.no_grad():
        examples = middle(net)
    with under(net, examples, FLAT) as subject:
        seen = slopes(subject)
    assert not seen.usable
    assert [finding.name for finding in seen.findings] == ["G1 graph"]
    assert seen.findings[0].flagged
    assert seen.findings[0].says == "unreliable"


def test_a_gradient_that_is_not_finite_is_no_gradient_and_its_message_is_kept(under: Any) -> None:
    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            root = (x - x.detach()).sum(1).sqrt()
            return torch.stack([root, root + 1], dim=1)

    with under(Root(), (torch.rand(9, 4), torch.ones(9, dtype=torch.int64)), FLAT) as subject:
        seen = slopes(subject)
    assert not seen.usable
    assert "input gradient of example 0 is" in seen.findings[0].meaning


def test_noise_in_the_backward_pass_is_seen_by_its_cosine_and_by_the_adjoint(under: Any) -> None:
    net = Before(NoisyHook(), linear(16, 2))
    with under(net, middle(net), FLAT) as subject:
        seen = slopes(subject)
    noise = found(seen)["G5 randomness"]
    assert noise.flagged
    assert noise.says == "suspect"
    assert noise.statistic is not None
    assert abs(noise.statistic) < 0.5
    assert found(seen)["G6 adjoint"].flagged
    assert seen.misleading


def test_a_wrong_backward_pass_is_seen_by_the_adjoint_and_by_differences(under: Any) -> None:
    net = Before(Reversed(), linear(16, 2))
    with under(net, middle(net), FLAT) as subject:
        seen = slopes(subject)
    assert flags(seen) == {"G6 adjoint", "G4 tiny differences", "G4 differences", "G4 gain"}
    assert found(seen)["G6 adjoint"].statistic == pytest.approx(1)
    assert found(seen)["G4 differences"].statistic == pytest.approx(-1, abs=1e-3)


def test_a_straight_through_gradient_is_a_note(under: Any) -> None:
    """Tiny differences do not see it, the attack's size does."""
    net = Before(StraightThrough(31), linear(16, 2))
    with under(net, middle(net), FLAT) as subject:
        seen = slopes(subject)
    assert "G4 tiny differences" in flags(seen)
    assert not seen.misleading
    assert not seen.flat
    assert all(finding.says == "reliable" for finding in seen.findings if finding.flagged)


@pytest.mark.parametrize("last", [nn.Softmax(1), nn.Identity()], ids=["probabilities", "logits"])
def test_probabilities_are_compared_as_the_attacks_see_them(under: Any, last: nn.Module) -> None:
    net = nn.Sequential(linear(16, 3), last)
    with under(net, middle(net), FLAT) as subject:
        assert not flags(slopes(subject))


def test_random_logits_are_told_and_not_taken_for_a_noisy_backward_pass(under: Any) -> None:
    net = Before(Noise(0.01), linear(16, 2))
    with under(net, middle(net), FLAT) as subject:
        assert subject.random
        noise = found(slopes(subject))["G5 randomness"]
    assert noise.statistic is None
    assert not noise.flagged
    assert "eot" in noise.attack


@pytest.mark.parametrize("size", [1, 7, None])
def test_nothing_depends_on_the_batch(under: Any, size: int | None) -> None:
    net = Before(Reversed(), linear(16, 3))
    with under(net, middle(net), FLAT, batch_size=size) as subject:
        seen = slopes(subject)
    with under(net, middle(net), FLAT) as subject:
        for one, other in zip(seen.findings, slopes(subject).findings, strict=True):
            assert one.statistic == pytest.approx(other.statistic, abs=1e-5)
            assert one.flagged == other.flagged


def test_gains_count_where_they_are_a_tenth_of_what_is_promised_and_where_there_is_a_gradient() -> None:
    nan = float("nan")
    assert used(torch.tensor([1.0, 0.2, 0.05, -1.0, nan, nan])) == 0.5
    assert used(torch.tensor([nan])) == 0


def test_correlation_is_pearsons_and_0_without_variance() -> None:
    a = torch.tensor([1.0, 2.0, 4.0])
    assert correlated(a, 3 * a + 7) == pytest.approx(1)
    assert correlated(a, -a) == pytest.approx(-1)
    assert correlated(a, torch.ones(3)) == 0


def test_logits_differ_by_more_than_rounding() -> None:
    z = torch.tensor([[100.0, 0.0], [1e-3, -1e-3]])
    assert differ(z, z + torch.tensor([[5e-3], [5e-7]])).tolist() == [False, True]
    assert differ(z, z).tolist() == [False, False]

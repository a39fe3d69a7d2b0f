"""The scattered start of CosinePGD (A³, Ye et al. 2022, section 3.2): which direction of the logits it climbs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from sparring.attacks.cosine_pgd import Scattered
from sparring.draws import Draws
from sparring.objectives import margin
from sparring.problem import Goal, Problem, Seen
from sparring.rules import Cosine
from sparring.threats import Linf

N, CLASSES = 2000, 6


def weights(goal: Goal) -> Tensor:
    """(N, CLASSES): by how much each logit counts."""
    index = torch.arange(N)
    x = torch.full((N, 2), 0.5)
    region = Linf(0.1).around(x, (0.0, 1.0))
    problem = Problem(index=index, slot=index, x=x, goal=goal, region=region, draws=Draws(0), seek="any")
    objective = Scattered(20, margin, Cosine(20))._direction(problem)
    logits = torch.zeros(N, CLASSES, requires_grad=True)
    return torch.autograd.grad(objective(logits, goal).sum(), logits)[0].double()


def test_away_from_the_label_its_weight_is_low_and_the_others_are_uniform() -> None:
    label = torch.arange(N) % CLASSES
    found = weights(Goal(label))
    own = found.gather(1, label[:, None]).squeeze(1)
    assert stats.kstest(own, stats.uniform(-0.5, 0.6).cdf).pvalue > 1e-3
    for shift in range(1, CLASSES):
        other = found.gather(1, ((label + shift) % CLASSES)[:, None]).squeeze(1)
        assert stats.kstest(other, stats.uniform(-1, 2).cdf).pvalue > 1e-3
        assert abs(float(stats.spearmanr(own, other).statistic)) < 0.1


def test_towards_a_class_its_weight_is_four_fifths() -> None:
    label = torch.arange(N) % CLASSES
    aim = (label + 2) % CLASSES
    aimed = weights(Goal(label, aim=aim))
    assert torch.allclose(aimed.gather(1, aim[:, None]), torch.tensor(0.8).double())
    own = aimed.gather(1, label[:, None]).squeeze(1)
    assert -0.5 <= float(own.min()) < -0.4
    assert 0.0 < float(own.max()) <= 0.1
    targeted = weights(Goal(label, targeted=True))
    assert torch.allclose(targeted.gather(1, label[:, None]), torch.tensor(0.8).double())


@pytest.mark.parametrize(("steps", "high", "low"), [(20, 2.0, 0.01), (8, 1.0, 0.1)])
def test_steps_fall_along_half_a_cosine(steps: int, high: float, low: float) -> None:
    """From the far corner, so that no step is cut short; momentum 1 is none."""
    index, x = torch.arange(1), torch.full((1, 4), 0.5)
    problem = Problem(
        index=index, slot=index, x=x, goal=Goal(index), region=Linf(0.1).around(x, (-9.0, 9.0)),
        draws=Draws(0), seek="any",
    )  # fmt: skip
    rule, corner = Cosine(steps, high, low, momentum=1.0), x - 0.1
    for number in range(steps):
        memory = replace(rule.start(problem, corner), moves=number)
        there, _ = rule.move(problem, memory, corner, Seen(torch.zeros(1, 2), torch.zeros(1), torch.ones_like(x)))
        share = low + (high - low) * (1 + math.cos(math.pi * number / steps)) / 2
        torch.testing.assert_close(there - corner, torch.full_like(x, 0.1 * share), rtol=1e-4, atol=1e-6)


def test_momentum_pulls_along_the_last_move() -> None:
    index, x = torch.arange(1), torch.zeros(1, 2)
    region = Linf(1.0).around(x, (-9.0, 9.0))
    problem = Problem(index=index, slot=index, x=x, goal=Goal(index), region=region, draws=Draws(0), seek="any")
    rule = Cosine(10, high=0.4, low=0.4, momentum=0.75)
    seen = Seen(torch.zeros(1, 2), torch.zeros(1), torch.tensor([[1.0, -1.0]]))
    memory = replace(rule.start(problem, x), last=torch.tensor([[-0.2, 0.0]]), moves=3)
    there, now = rule.move(problem, memory, x, seen)
    torch.testing.assert_close(there, 0.75 * torch.tensor([[0.4, -0.4]]) + 0.25 * torch.tensor([[0.2, 0.0]]))
    assert torch.equal(now.last, x)
    assert now.moves == 4

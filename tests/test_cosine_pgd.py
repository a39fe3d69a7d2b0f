"""The scattered start of CosinePGD (A³, Ye et al. 2022, section 3.2): which direction of the logits it climbs."""

from __future__ import annotations

import torch
from scipy import stats
from torch import Tensor

from sparring.attacks.cosine_pgd import Scattered
from sparring.draws import Draws
from sparring.objectives import margin
from sparring.problem import Goal, Problem
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

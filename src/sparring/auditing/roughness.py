"""Do two climbs that differ in nothing but their random numbers end alike? On a smooth landscape they do."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sparring.attacks.attack import opened
from sparring.attacks.cosine_pgd import CosinePGD
from sparring.auditing.subject import Subject
from sparring.errors import NoGradient
from sparring.model import Model
from sparring.nearness import Nearness
from sparring.oracle import Oracle
from sparring.problem import Problem

CLIMB = CosinePGD(steps=10)
FEW = 3  # rows that withstand: of less there is no median
SMOOTH = 0.03  # robust networks on CIFAR-10 come to 0.002 to 0.03; TRADES on digits and on MNIST to 0.04 to 0.2
MOST = 0.2  # where climbs differ by more they hardly say anything, and more of the same would not


def roughness(subject: Subject, view: Model) -> float:
    """What two climbs differ by beyond `SMOOTH`, in units of `Nearness`: the median of the examples that withstand,
    in hundredths.

    The larger it is, the more is found by gradients from elsewhere and by random search, up to `MOST`. 0 where hardly
    any example withstands, or there is no gradient. view: the network, with the gradients to follow.
    """
    try:
        with view.quiet():
            apart = subject.ask("twice", subject.problem, view, _apart)
    except NoGradient:
        return 0.0
    apart = apart[apart.isfinite()]
    middle = float(apart.median()) if len(apart) >= FEW else 0.0
    return round(min(max(middle - SMOOTH, 0.0), MOST), 2)


def _apart(oracle: Oracle, rows: Problem) -> Tensor:
    """(N,) of each example what two climbs differ by; NaN where one of them broke it."""
    rows, _ = opened(rows, oracle)
    assert rows.clean is not None
    first = Nearness.at(rows.x, rows.clean, rows.goal)
    standing, ends = rows.slot, []
    for number in (1, 2):
        left = rows.take(standing)
        oracle.nearness = first
        found = CLIMB.run(replace(left, draws=left.draws.at("climb", number)), oracle)
        ends.append(oracle.nearness)
        standing = standing[~found.success]
    one, other = (end.take(standing) for end in ends)
    closest = one.closer(other)
    apart = closest.apart(one).maximum(closest.apart(other)).double()
    return torch.full((len(rows.x),), torch.nan, dtype=apart.dtype, device=apart.device).index_copy(0, standing, apart)

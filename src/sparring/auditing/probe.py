"""What an evaluation checks by itself: is the gradient steady, is it true, does more room help? 19 passes an example.

Every answer belongs to its row, so an evaluation may be cut into blocks, resumed and sharded.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from sparring.attacks.attack import entered
from sparring.attacks.pgd import PGD
from sparring.auditing.slopes import SHARES, STEADY, cosine, differ, foretold, gain, largest
from sparring.errors import NoGradient
from sparring.model import Model
from sparring.objectives import margin
from sparring.oracle import Oracle
from sparring.problem import Problem
from sparring.rows import Rows

FAITHFUL = (0.3, 2.0)  # the gain of nearly all examples of honest networks lies between
ROOMY = PGD(steps=4, objective="margin")


@dataclass(frozen=True)
class Evidence(Rows):
    """One column a check, NaN where a row was not asked.

    random: (N,) 1 where two looks at one input differ. cosine: (N,) of two gradients at equal logits. gain: (N,) how
    the margin rose over a quarter of the radius, as a share of what the gradient promised. slope, near, far: (N,) along
    random signs, as the gradient foretells it, and as it is at both of `SHARES`. withstood: (N,) 1 where the row stands
    with the whole input range to move in. absent: (N,) 1 where there is no input gradient, or none that is finite.
    """

    random: Tensor
    cosine: Tensor
    gain: Tensor
    slope: Tensor
    near: Tensor
    far: Tensor
    withstood: Tensor
    absent: Tensor

    @classmethod
    def none(cls, like: Tensor) -> Evidence:
        """Nobody was asked; one row for each of `like`."""
        return cls(*(torch.full((len(like),), torch.nan, dtype=torch.float64, device=like.device) for _ in fields(cls)))

    @property
    def doubtful(self) -> Tensor:
        """(N,) bool: there is no gradient, it is noisy, or the margin does not rise along it as it says. Where looks
        themselves are random, none of the last two is a lie."""
        low, high = FAITHFUL
        lies = (self.cosine < STEADY) | ~((self.gain >= low) & (self.gain <= high))
        return (self.absent == 1) | ((self.random == 0) & lies)

    @property
    def columns(self) -> Tensor:
        """(N, columns), to be kept; Evidence(*columns.unbind(1)) reads it."""
        return torch.stack([getattr(self, field.name) for field in fields(self)], dim=1)


def probe(problem: Problem, model: Model) -> tuple[Evidence, Oracle]:
    """Ask the rows of `problem`; the oracle has the counts."""
    rows = entered(problem, "probe")
    oracle = Oracle(model.seen_by(eot=1), len(rows.x), rows.x.device)
    oracle.lenient = True
    none = Evidence.none(rows.slot)
    try:
        first, again = (oracle.gradient(rows, rows.x, margin) for _ in range(2))
    except NoGradient:
        return replace(none, absent=torch.ones_like(none.absent)), oracle
    absent = oracle.spoilt
    random = differ(first.logits, again.logits)
    both = (largest(first.gradient) > 0) & (largest(again.gradient) > 0) & ~random & ~absent
    alike = cosine(first.gradient, again.gradient)

    def score(x: Tensor) -> Tensor:
        return oracle.look(rows, x, margin).score

    (slope, near), (_, far) = (foretold(rows, first.gradient, score, share) for share in SHARES)
    found = replace(
        none,
        random=random.double(),
        cosine=torch.where(both & (model.gradients is None), alike, torch.nan),  # an estimate is random by intent
        absent=absent.double(),
        gain=gain(rows, first.gradient, score).double().where(~absent, torch.nan),
        slope=slope.double(),
        near=near.double(),
        far=far.double(),
    )
    if rows.region.masked or model.gradients is not None or not bool(rows.region.farthest().isfinite().all()):
        # With most of the input held still, or no end to it, standing proves nothing; estimates cost too much.
        return found, oracle
    roomy = replace(rows, region=rows.region.resized(rows.region.farthest()))
    return replace(found, withstood=(~ROOMY.run(roomy, oracle).success).double()), oracle

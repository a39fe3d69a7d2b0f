"""One search: find a start, then estimate the boundary's normal, step along it, and bisect back, round by round."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.oracle import Oracle
from sparring.problem import Problem, Seen
from sparring.rows import Rows, column
from sparring.threats.ball import Ball, unit

# A step that still lands on the right side after so many halvings is not taken.
SHORTEST = 16


@dataclass(frozen=True)
class Hop(Rows):
    """A point of each row just beyond the boundary."""

    x: Tensor
    lost: Tensor  # (N,) bool: no misclassified point was found to start from
    hops: int = 0


@dataclass(frozen=True)
class Hopping:
    """A starting point, then `steps` rounds: estimate the boundary's normal, step along it, bisect back (algorithm 2).

    theta: the bisection's precision, as a share of the distance. rows: about so many in one forward pass.
    """

    steps: int
    first: int
    most: int
    tries: int
    theta: float
    rows: int

    def start(self, problem: Problem) -> Hop:
        return Hop(problem.x, torch.zeros_like(problem.index, dtype=torch.bool))

    def step(self, problem: Problem, oracle: Oracle, state: Hop) -> tuple[Tensor, Seen, Hop]:
        if state.hops:
            x, lost = self._ahead(problem, oracle, state), state.lost
        else:
            x, lost = self._beginning(problem, oracle)
        found = (~lost).nonzero().squeeze(1)
        if len(found):
            x = x.index_copy(0, found, self._back(problem.take(found), oracle, x.index_select(0, found)))
        # The score is the distance: the logits serve to see which class is largest, and for nothing else.
        seen = Seen(oracle.logits(problem, x), -problem.region.distance(x), torch.zeros_like(x))
        return x, seen, Hop(x, lost, state.hops + 1)

    def over(self, state: Hop) -> Tensor:
        return state.lost | (state.hops > self.steps)

    def _wrong(self, problem: Problem, oracle: Oracle, x: Tensor) -> Tensor:
        """(M, N) bool: the decisions at M points a row, x (M, N, …), about `rows` points at a time.

        The points of one example are never parted: what a randomised model answers must not depend on the batch.
        """
        every = torch.arange(len(problem.x), device=x.device)
        said = []
        for at in torch.split(every, max(1, self.rows // len(x))):
            asked = problem.take(at.repeat(len(x)))
            logits = oracle.logits(asked, x.index_select(1, at).flatten(0, 1))
            said.append(asked.goal.reached(logits).reshape(len(x), -1))
        return torch.cat(said, dim=1)

    def _beginning(self, problem: Problem, oracle: Oracle) -> tuple[Tensor, Tensor]:
        """The first misclassified of `tries` random points; and which rows have none."""
        x, lost = problem.x, torch.ones_like(problem.index, dtype=torch.bool)
        for number in range(self.tries):
            at = lost.nonzero().squeeze(1)
            if not len(at):
                break
            rows = problem.take(at)
            point = anywhere(rows, number)
            wrong = self._wrong(rows, oracle, point[None])[0]
            x = x.index_copy(0, at[wrong], point[wrong])
            lost = lost.index_fill(0, at[wrong], False)
        return x, lost

    def _back(self, problem: Problem, oracle: Oracle, x: Tensor) -> Tensor:
        """x drawn towards the clean example until just before the model is right (algorithm 1).

        The nearest point of a smaller ball is a blend of the two under L2, and a clamp under L∞, as in the paper.
        """
        region = problem.region
        whole = region.distance(x)
        low, high = torch.zeros_like(whole), torch.ones_like(whole)
        for _ in range(math.ceil(-math.log2(self.theta))):
            middle = (low + high) / 2
            wrong = self._wrong(problem, oracle, region.resized(middle * whole).project(x)[None])[0]
            low, high = torch.where(wrong, low, middle), torch.where(wrong, middle, high)
        return torch.where(column(high < 1, x), region.resized(high * whole).project(x), x)

    def _ahead(self, problem: Problem, oracle: Oracle, state: Hop) -> Tensor:
        """The longest step, halved from distance / sqrt(hops), that stays beyond the boundary (section 3.3)."""
        x, region = state.x, problem.region
        assert isinstance(region, Ball)
        direction = region.steepest(self._normal(problem, oracle, region, state), x)
        length = region.distance(x) / math.sqrt(state.hops)
        on = torch.arange(len(x), device=x.device)
        for _ in range(SHORTEST):
            ahead = region.clip(state.x + column(length, x) * direction).index_select(0, on)
            wrong = self._wrong(problem.take(on), oracle, ahead[None])[0]
            x = x.index_copy(0, on[wrong], ahead[wrong])
            on, length = on[~wrong], length / 2
            if not len(on):
                break
        return x

    def _normal(self, problem: Problem, oracle: Oracle, region: Ball, state: Hop) -> Tensor:
        """The boundary's normal at x, by Monte Carlo with the mean decision as a baseline (sections 3.2 and 4.1)."""
        x = state.x
        size = math.sqrt(x[0].numel()) * self.theta
        radius = column(size * torch.linalg.vector_norm((x - problem.x).flatten(1), dim=1), x)
        moves, pushes, decisions = torch.zeros_like(x), torch.zeros_like(x), x.new_zeros(len(x))
        count = min(int(self.first * math.sqrt(state.hops)), self.most)
        for noise in self._probes(problem, region, state.hops, count):
            points = region.clip(x + radius * noise)
            sign = 2 * self._wrong(problem, oracle, points).to(x.dtype) - 1
            moved = points - x
            moves, decisions = moves + moved.sum(0), decisions + sign.sum(0)
            pushes = pushes + (sign.reshape(*sign.shape, *[1] * (x.ndim - 1)) * moved).sum(0)
        mean = decisions / count
        return pushes - column(mean.where(mean.abs() < 1, 0), x) * moves

    def _probes(self, problem: Problem, region: Ball, hop: int, count: int) -> Iterator[Tensor]:
        """(M, N, …) unit directions in which the input may move, `count` in all, a few at a time.

        How many at a time follows from the size of an example alone, so that no number depends on the batch.
        """
        shape, draws = problem.x.shape[1:], problem.draws.at("probe", hop)
        free = (region.high > region.low).expand_as(problem.x).to(problem.x.dtype)
        block = max(1, min(32, 2**15 // problem.x[0].numel()))
        for number, done in enumerate(range(0, count, block)):
            several = min(block, count - done)
            noise = draws.normal(problem.index, number, (several, *shape), problem.x.dtype).transpose(0, 1) * free
            yield unit(noise.flatten(0, 1)).reshape(noise.shape)


def anywhere(problem: Problem, number: int) -> Tensor:
    """A random point of the input range; every other one of random brightness and contrast.

    Many networks say one class of all plain noise, whose examples would never find a start. Where the range is
    unbounded, the points lie ever farther from the clean example.
    """
    region, draws = problem.region, problem.draws.at("start")
    assert isinstance(region, Ball)
    share = draws.uniform(problem.index, number, problem.x.shape[1:], problem.x.dtype)
    if number % 2:
        tone = draws.at("tone").uniform(problem.index, number, (2,), problem.x.dtype)
        brightness, contrast = (column(part, share) for part in tone.unbind(1))
        share = (brightness + 2 * contrast * (share - 0.5)).clamp(0, 1)
    width = region.high - region.low
    beside = region.centre + 2 ** (number / 10) * (2 * share - 1)
    return region.clip(torch.where(width.isinf(), beside, region.low + width * share))

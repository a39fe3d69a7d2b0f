"""Z: the binarization test (Zimmermann et al. 2022). An attack must find an adversarial example that is known to exist.

Each example gets a readout of its own on the network's last features: points inside the ball are one class, a single
point on its edge the other. What attacks the network must find its way to that edge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sparring.auditing.finding import NEXT, Finding
from sparring.auditing.subject import NAIVE, Subject
from sparring.errors import ModelError, NoGradient
from sparring.oracle import Oracle
from sparring.problem import Goal, Problem
from sparring.rows import column

FEW = 24  # examples
INNER = 96  # points of the inner ball, whose radius is INSIDE of the outer one's
INSIDE = 0.95


def binarization(subject: Subject) -> Finding:
    """How often plain PGD finds what is there, among the examples where random points do not."""
    net = subject.model.net
    last = _last_linear(subject, net) if isinstance(net, nn.Module) else None
    if last is None or subject.random:
        return _finding(
            None, "there is no last linear layer to read features before" if last is None else "the network is random"
        )
    rows = subject.first(FEW)
    try:
        readout = _trained(subject, rows, last)
        told = Binary(subject, rows, last, readout)
        points = [rows.region.sample(rows.draws.at("random"), rows.index, step) for step in range(32)]
        lucky = torch.stack([told.margins(x) > 0 for x in points]).any(0)
        subject.forwards += len(points) * len(rows.x)
        hard = readout.separable & ~lucky
        if int(hard.sum()) < 8:
            return _finding(None, "random points reach the planted examples too: the test says nothing here")
        found = told.attacked()[hard]
    except ModelError as error:
        return _finding(None, str(error))
    share = float(found.double().mean())
    return _finding(share, f"plain PGD found {share:.0%} of {int(hard.sum())} planted adversarial examples")


def _finding(share: float | None, meaning: str) -> Finding:
    flagged = share is not None and share < THRESHOLD
    return Finding("Z binarization", share, THRESHOLD, flagged, "suspect", meaning, NEXT)


THRESHOLD = 0.5


@dataclass(frozen=True)
class Readout:
    """w (N, D), b (N,): the other class where w · features + b > 0. separable (N,) bool: such a readout exists."""

    w: Tensor
    b: Tensor
    separable: Tensor


class Binary:
    """The network with a readout an example, attacked as any other."""

    def __init__(self, subject: Subject, rows: Problem, last: nn.Linear, readout: Readout) -> None:
        self.subject, self.rows, self.last, self.readout = subject, rows, last, readout

    def margins(self, x: Tensor) -> Tensor:
        """(N,) above 0: the planted class."""
        with torch.no_grad():
            return self._margins(x, slice(None))

    def attacked(self) -> Tensor:
        """(N,) bool: plain PGD reaches the planted class."""
        outer = self

        class Planted(Oracle):
            """Answers with the readouts' two logits."""

            def _answer(self, problem: Problem, x: Tensor) -> Tensor:
                self.forwards.index_add_(0, problem.slot, torch.ones_like(problem.slot))
                m = outer._margins(x, problem.slot)
                self.classes = 2
                return torch.stack([-m, m], dim=1)

        oracle = Planted(self.subject.model, len(self.rows.x), self.rows.x.device)
        goal = Goal(torch.zeros_like(self.rows.goal.label))
        slot = torch.arange(len(self.rows.x), device=self.rows.x.device)
        problem = replace(self.rows, goal=goal, slot=slot, draws=self.rows.draws.at("planted"), clean=None)
        try:
            return NAIVE.run(problem, oracle).success
        except NoGradient:
            return torch.zeros_like(slot, dtype=torch.bool)
        finally:
            self.subject.forwards += int(oracle.forwards.sum())
            self.subject.backwards += int(oracle.backwards.sum())

    def _margins(self, x: Tensor, at: Any) -> Tensor:
        features = _features(self.subject, self.last, x)
        return (features * self.readout.w[at]).sum(1) + self.readout.b[at]


def _features(subject: Subject, last: nn.Linear, x: Tensor) -> Tensor:
    """(N, D) what enters the last linear layer."""
    kept: list[Tensor] = []
    handle = last.register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0]))
    try:
        subject.model.once(x)
    finally:
        handle.remove()
    if not kept:
        raise ModelError("the network does not run the hooks of its layers, as a compiled one may not")
    return kept[-1].flatten(1)


def _last_linear(subject: Subject, net: nn.Module) -> nn.Linear | None:
    """The last linear layer that one pass runs once, with a row of features an example."""
    ran: list[tuple[nn.Linear, Tensor]] = []
    linear = [module for module in net.modules() if isinstance(module, nn.Linear)]
    handles = [
        module.register_forward_pre_hook(lambda module, inputs: ran.append((module, inputs[0]))) for module in linear
    ]
    few = subject.first(2)
    try:
        with torch.no_grad():
            subject.model.once(few.x)
        subject.forwards += len(few.x)
    finally:
        for handle in handles:
            handle.remove()
    if not ran:
        return None
    last, entered = ran[-1]
    once = sum(module is last for module, _ in ran) == 1
    return last if once and entered.ndim == 2 and len(entered) == len(few.x) else None


def _trained(subject: Subject, rows: Problem, last: nn.Linear) -> Readout:
    """Readouts that call INNER points of the inner ball one class and one point of the edge the other.

    Fisher's discriminant, its threshold half way between the planted point and the nearest inner one.
    """
    inner = rows.region.resized(rows.region.radius * INSIDE)
    uniform = rows.draws.at("edge").normal(rows.index, 0, rows.x.shape[1:], rows.x.dtype)
    # From well outside, or what the input range cuts off would leave the point inside the inner ball.
    way = rows.region.steepest(uniform, rows.x)
    edge = rows.region.project(rows.x + column(4 * rows.region.reach, rows.x) * way)
    with torch.no_grad():
        planted = _features(subject, last, edge).double()
        inside = [
            _features(subject, last, inner.sample(rows.draws.at("inner"), rows.index, step)).double()
            for step in range(INNER)
        ]
        inside.append(_features(subject, last, rows.x).double())
    subject.forwards += (INNER + 2) * len(rows.x)
    cloud = torch.stack(inside, 1)  # (N, M, D)
    centre = cloud.mean(1)
    spread = cloud - centre[:, None]
    away = planted - centre
    ridge = 1e-3 * spread.square().sum(2).mean(1)[:, None, None] + 1e-12
    kernel = spread @ spread.transpose(1, 2)  # Woodbury: (ridge + S'S)^-1 away without a D × D matrix
    eye = torch.eye(kernel.shape[1], dtype=kernel.dtype, device=kernel.device)
    inverse = torch.linalg.solve(kernel + ridge * eye, (spread @ away[:, :, None]))
    w = (away - (spread.transpose(1, 2) @ inverse).squeeze(2)) / ridge.reshape(-1, 1)
    scores = (cloud @ w[:, :, None]).squeeze(2).amax(1)
    reached = (planted * w).sum(1)
    gap = reached - scores
    scale = gap.clamp_min(1e-12)[:, None]
    b = -(reached + scores) / 2
    w, b = torch.where(gap[:, None] > 0, w / scale, 0), torch.where(gap > 0, b / scale.squeeze(1), 0)
    return Readout((4 * w).to(rows.x), (4 * b).to(rows.x), gap > 0)

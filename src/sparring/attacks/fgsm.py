"""FGSM (Goodfellow, Shlens & Szegedy 2015, section 4): one step of the full radius along the sign of the gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sparring.attacks.ascent import Ascent
from sparring.attacks.attack import Attack
from sparring.draws import isolated
from sparring.model import Model, Network
from sparring.objectives import get
from sparring.oracle import Oracle
from sparring.problem import Objective, Outcome, Problem, Seek, Threat, pose
from sparring.rows import column
from sparring.rules import Steepest


@dataclass(frozen=True)
class FGSM(Attack):
    """x + eps · sign(gradient), kept inside the input range; for L2 and L1 along their own steepest direction.

    clip: False is the textbook line, bit for bit: every row moves, wrong ones too, nothing is clipped, the
        gradient is that of the mean loss, and the network stays in the mode it is in.
    """

    objective: str | Objective = "cross_entropy"
    clip: bool = True

    def run(self, problem: Problem, oracle: Oracle) -> Outcome:
        return Ascent(1, get(self.objective), Steepest(), random_start=False)(problem, oracle)

    def __call__(
        self,
        model: Network,
        x: Tensor,
        y: Tensor | None,
        threat: Threat,
        *,
        targets: Tensor | None = None,
        seed: int = 0,
        index: Tensor | None = None,
        seek: Seek | None = None,
    ) -> Outcome:
        if self.clip:
            return super().__call__(model, x, y, threat, targets=targets, seed=seed, index=index, seek=seek)
        return self._textbook(model, x, y, threat, targets, seed)

    def _textbook(
        self, model: Network, x: Tensor, y: Tensor | None, threat: Threat, targets: Tensor | None, seed: int
    ) -> Outcome:
        self.check(threat)
        bare = model if isinstance(model, Model) else Model(model, mode="as-is")
        everywhere = (-torch.inf, torch.inf)
        problem = pose(x, y, threat, everywhere, targets=targets, seed=seed, seek="strongest")
        bare.check_device(problem.x)
        x, region = problem.x, problem.region
        if not len(x):
            return Outcome.none(problem)
        oracle = Oracle(bare, len(x), x.device)
        with bare.quiet(), isolated(seed, x.device):
            # The textbook loss is a mean; its 1/N changes no sign, but it changes the last bits.
            seen = oracle.gradient(problem, x, get(self.objective), weight=1 / len(x))
            moved = x + column(region.reach, x) * region.steepest(seen.gradient, x)
            again = oracle.look(problem, moved, get(self.objective))
        return replace(
            Outcome.none(problem),
            x=moved,
            success=problem.goal.reached(again.logits),
            distance=region.distance(moved),
            score=again.score,
            forwards=oracle.forwards,
            backwards=oracle.backwards,
            zero_gradients=oracle.zero_gradients,
        )

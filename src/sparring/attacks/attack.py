"""What every attack shares: the outermost call. It checks, looks first, runs, and verifies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from sparring.draws import isolated
from sparring.errors import InputError
from sparring.model import Model, Network
from sparring.objectives import get, margin
from sparring.oracle import Oracle
from sparring.problem import Outcome, Problem, Seek, Threat, check_classes, check_threat, pose
from sparring.solve import verified
from sparring.values import Count, check_fields


@dataclass(frozen=True)
class Attack:
    """A frozen value. Subclasses are dataclasses that define `run`, and say the range of a number in its type.

    batch_size: examples a pass; None takes what fits. Results do not depend on it.
    """

    batch_size: Count | None = field(
        default=None, kw_only=True, repr=False, compare=False, metadata={"identity": False}
    )

    norms: ClassVar[frozenset[str]] = frozenset({"linf", "l2", "l1", "l0"})
    minimal: ClassVar[bool] = False  # True: also answers a threat without a radius, with the nearest example
    gradients: ClassVar[bool] = True  # False: asks for logits alone, and works where there is no input gradient

    def __post_init__(self) -> None:
        check_fields(self, counts=True)
        get(getattr(self, "objective", margin))  # an unknown name is told here, not in the middle of a run

    def run(self, problem: Problem, oracle: Oracle) -> Outcome:
        """The attack itself, on rows the model gets right; it sees the oracle, never the network."""
        raise NotImplementedError

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
        """Attack each example of x.

        Args:
            model: a network on inputs in [0, 1], or an sp.Model.
            x: (N, …) floating, inside the model's bounds.
            y: (N,) integer classes; an example already wrong comes back as it is, with success and distance 0.
            threat: what may move; without a radius, asks a minimal-norm attack for the nearest example.
            targets: (N,) the classes the adversary wants said; None: any wrong class will do.
            seed: with `index`, determines every random number.
            index: (N,) the identity of each example; None numbers them from 0.
            seek: None suits the threat; "strongest" (training) returns the last point, unverified.

        Raises:
            InputError: x, y, targets, threat or index cannot be used; the message names value and remedy.
            ModelError: the network's logits or gradients cannot be used.
        """
        check_recording()
        wrapped = Model.of(model)
        self.check(threat)
        problem = pose(x, y, threat, wrapped.bounds, targets=targets, seed=seed, index=index, seek=seek)
        wrapped.check_device(problem.x)
        return self.on(wrapped, problem)

    def on(self, model: Model, problem: Problem) -> Outcome:
        """The outermost call on a problem already posed and checked."""
        if not len(problem.x):
            return Outcome.none(problem)
        return Outcome.join([self._attack(model, part) for part in chunks(problem, self.batch_size)])

    def check(self, threat: Threat) -> None:
        """Raises InputError where this attack has no form for the threat."""
        check_threat(threat)
        attack, norm = type(self).__name__, getattr(threat, "name", None)
        if norm is not None and norm not in self.norms:
            raise InputError(f"{attack} has no form for {threat!r}; it knows {', '.join(sorted(self.norms))}")
        bounded = threat.radius is not None and bool(torch.as_tensor(threat.radius).isfinite().all())
        if not bounded and not self.minimal:
            raise InputError(
                f"{attack} has a fixed budget and needs a radius, and {threat!r} has no finite one: write "
                f"{type(threat).__name__}(radius). For the nearest adversarial example use sp.FAB()"
            )

    def _attack(self, model: Model, problem: Problem) -> Outcome:
        problem = entered(problem, type(self).__name__)
        oracle = Oracle(model, len(problem.x), problem.x.device)
        with model.quiet(), isolated(problem.draws.seed, problem.x.device):
            if problem.seek == "strongest":
                return verified(problem, oracle, self.run(problem, oracle))
            problem, found = opened(problem, oracle)
            standing = (~found.success).nonzero().squeeze(1)
            if len(standing):
                rows = problem.take(standing)
                found = found.put(standing, verified(rows, oracle, self.run(rows, oracle)))
            # Examples wrong from the start were never given to the attack; the one look was theirs too.
            return replace(found, forwards=oracle.forwards, backwards=oracle.backwards)


def check_recording() -> None:
    """Raises InputError in torch.inference_mode()."""
    if torch.is_inference_mode_enabled():
        raise InputError("torch.inference_mode() is on, in which nothing has a gradient; attack outside of it")


def entered(problem: Problem, name: str) -> Problem:
    """The problem as an attack of that name is given it: rows counted from 0, random numbers of its own."""
    slot = torch.arange(len(problem.x), device=problem.x.device)
    return replace(problem, slot=slot, draws=problem.draws.at(name))


def opened(problem: Problem, oracle: Oracle) -> tuple[Problem, Outcome]:
    """The opening look: the problem with its clean logits, and the rows that need no attack as successes."""
    clean = oracle.logits(problem, problem.x)
    check_classes("targets" if problem.goal.targeted else "y", problem.goal.label, clean.shape[1], problem.index)
    found = replace(Outcome.none(problem), success=problem.goal.reached(clean))
    goal = problem.goal if problem.goal.reference is not None else replace(problem.goal, reference=clean)
    return replace(problem, goal=goal, clean=clean), found


def chunks(problem: Problem, batch_size: int | None) -> Iterator[Problem]:
    """The problem, `batch_size` rows at a time; None takes what fits."""
    rows = batch_size if batch_size is not None else fitting(problem.x)
    every = torch.arange(len(problem.x), device=problem.x.device)
    for first in range(0, len(every), rows):
        yield problem if rows >= len(every) else problem.take(every[first : first + rows])


def fitting(x: Tensor) -> int:
    """How many examples a pass: enough to keep the device busy, few enough for its memory.

    A network's activations take a few hundred times its input: 128 small images, fewer large ones. On a
    processor more would leave its caches and run slower; an accelerator takes eight times as many.
    """
    most, numbers = (1024, 2**25) if x.device.type != "cpu" else (128, 2**21)
    return max(1, min(most, numbers // max(1, x[0].numel()))) if len(x) else 1

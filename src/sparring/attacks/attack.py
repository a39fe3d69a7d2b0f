"""What every attack shares: the outermost call. It checks, looks first, runs, and verifies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from sparring.draws import Draws, isolated
from sparring.errors import InputError
from sparring.model import Model, Network
from sparring.oracle import Oracle
from sparring.problem import (
    Goal,
    Outcome,
    Problem,
    Seek,
    Threat,
    check_inputs,
    check_labels,
)
from sparring.solve import verified


@dataclass(frozen=True)
class Attack:
    """A frozen value; its repr is its provenance. Subclasses are dataclasses that define `run`.

    batch_size: examples a pass; None takes what fits. Results do not depend on it.
    """

    batch_size: int | None = field(default=None, kw_only=True, repr=False, compare=False)

    norms: ClassVar[frozenset[str]] = frozenset({"linf", "l2", "l1", "l0"})
    minimal: ClassVar[bool] = False  # True: also answers a threat without a radius, with the nearest example

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
        wrapped = Model.of(model)
        x = check_inputs(x, wrapped.bounds)
        wanted = check_labels("y", y, x) if targets is None else check_labels("targets", targets, x)
        index = torch.arange(len(x), device=x.device) if index is None else check_labels("index", index, x)
        self.check(threat)
        problem = Problem(
            slot=torch.zeros_like(wanted),
            index=index,
            x=x,
            goal=Goal(wanted, targeted=targets is not None),
            region=threat.around(x, wrapped.bounds),
            draws=Draws(seed, (type(self).__name__,)),
            seek=seek or ("nearest" if threat.radius is None else "any"),
        )
        if not len(x):
            return Outcome.none(problem)
        parts = [self._attack(wrapped, part) for part in chunks(problem, self.batch_size)]
        return parts[0] if len(parts) == 1 else Outcome.join(parts)

    def check(self, threat: Threat) -> None:
        """Raises InputError where this attack has no form for the threat."""
        name = getattr(threat, "name", None)
        if not isinstance(threat, Threat):
            raise InputError(f"threat is {threat!r}; pass one such as sp.Linf(8/255)")
        if name is not None and name not in self.norms:
            raise InputError(
                f"{type(self).__name__} has no form for {type(threat).__name__}; it knows {', '.join(sorted(self.norms))}"
            )
        if threat.radius is None and not self.minimal:
            raise InputError(
                f"{type(self).__name__} has a fixed budget and needs a radius, such as "
                f"sp.{type(threat).__name__}({'10' if name == 'l0' else '8/255'}); for the nearest adversarial example use sp.CarliniWagner()"
            )

    def _attack(self, model: Model, problem: Problem) -> Outcome:
        problem = replace(problem, slot=torch.arange(len(problem.x), device=problem.x.device))
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


def opened(problem: Problem, oracle: Oracle) -> tuple[Problem, Outcome]:
    """The opening look: the problem with its clean logits, and the rows that need no attack as successes."""
    clean = oracle.logits(problem, problem.x)
    found = replace(Outcome.none(problem), success=problem.goal.reached(clean))
    return replace(problem, clean=clean), found


def chunks(problem: Problem, batch_size: int | None) -> Iterator[Problem]:
    """The problem, `batch_size` rows at a time.

    Raises:
        InputError: the batch size is not at least 1.
    """
    rows = batch_size if batch_size is not None else fitting(problem.x)
    if rows < 1:
        raise InputError(f"batch_size is {batch_size}; give at least 1, or None for what fits")
    for at in torch.arange(len(problem.x), device=problem.x.device).split(rows):
        yield problem if len(at) == len(problem.x) else problem.take(at)


def fitting(x: Tensor) -> int:
    """How many examples a pass: enough to keep the device busy, few enough for its memory.

    A network's activations take a few hundred times its input: 128 small images, fewer large ones. On a
    processor more would leave its caches and run slower; an accelerator takes eight times as many.
    """
    most, numbers = (1024, 2**25) if x.device.type != "cpu" else (128, 2**21)
    return max(1, min(most, numbers // max(1, x[0].numel()))) if len(x) else 1

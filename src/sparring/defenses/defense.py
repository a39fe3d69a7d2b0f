"""What every defense shares: a loss per example, computed from a context that remembers shared work."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from sparring.attacks import Attack
from sparring.model import Model
from sparring.problem import Threat


@dataclass(frozen=True)
class Defense:
    """A frozen value; its repr is its provenance. Subclasses are dataclasses that define `loss`."""

    def check(self, threat: Threat | None) -> None:
        """Raises InputError where this defense cannot train against the threat."""

    def loss(self, context: Context) -> Tensor:
        """One loss per example (N,), never reduced: the loop takes the mean.

        Networks are asked through the context, so that terms of a loss share forwards and attacks.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Context:
    """One batch, and what was already computed for it.

    model: the network, in training mode. x: (N, …). y: (N,) classes. index: (N,) each example's place in the
    data, of which, with seed and epoch, the random numbers of an attack are a function.
    """

    model: Model
    x: Tensor
    y: Tensor
    index: Tensor
    threat: Threat | None
    seed: int
    epoch: int
    _attacked: dict[Attack, Tensor] = field(default_factory=dict, init=False, repr=False)
    _looks: list[tuple[Tensor, Tensor]] = field(default_factory=list, init=False, repr=False)

    def logits(self, x: Tensor) -> Tensor:
        """(N, K) logits of x in training mode, with gradients to the weights; one forward for each x."""
        for seen, logits in self._looks:
            if seen is x:
                return logits
        self._looks.append((x, self.model(x)))
        return self._looks[-1][1]

    def adversarial(self, attack: Attack) -> Tensor:
        """(N, …) the strongest examples `attack` finds inside the threat, the network in evaluation mode."""
        if attack not in self._attacked:
            assert self.threat is not None  # Defense.check saw to it
            seed = number(self.seed, "attack", self.epoch)
            opponent = viewed(self.model, "eval")
            outcome = attack(opponent, self.x, self.y, self.threat, seed=seed, index=self.index, seek="strongest")
            self._attacked[attack] = outcome.x
        return self._attacked[attack]

    def accuracy(self) -> Tensor:
        """(N,) the share of an example's looks so far, clean or adversarial, that gave its class."""
        return torch.stack([logits.argmax(1) == self.y for _, logits in self._looks]).float().mean(0)


def viewed(model: Model, mode: Literal["eval", "as-is"]) -> Model:
    """The same network, weights shared, seen in another mode."""
    view = copy.copy(model)
    view.mode = mode
    return view


def number(seed: int, *path: str | int) -> int:
    """A seed of 63 bits for what stands at `path` under `seed`, for generators that take no path."""
    digest = hashlib.sha256(repr((seed, path)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1

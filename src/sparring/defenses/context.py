"""One batch, and what was already computed for it: every term of a loss shares forwards, attacks and teachers."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparring.attacks import Attack
from sparring.draws import Draws, isolated
from sparring.errors import ModelError
from sparring.model import Model
from sparring.objectives import cross_entropy, kl
from sparring.oracle import Oracle
from sparring.problem import Region, Seen, Threat, pose
from sparring.threats import L2


@dataclass(frozen=True, eq=False)
class Context:
    """What a defense learns one batch from.

    model: the network, in training mode. x: (N, …). y: (N,) classes. index: (N,) each example's place in the
    data, of which, with seed and epoch, all random numbers are a function.
    step: the batches learned from before this one. progress: the share of the training that is done, in [0, 1].
    place: where the rows of this process begin in the batch that all processes share; 0 for one process.
    label_smoothing: of `cross_entropy`. effort: the share of an attack's steps that is made.
    memory: what a defense keeps from batch to batch; checkpoints hold it, so tensors only.
    gather: the rows (N, …) of all processes, in order.
    """

    model: Model
    x: Tensor
    y: Tensor
    index: Tensor
    threat: Threat | None
    seed: int
    epoch: int
    step: int = 0
    progress: float = 0.0
    place: int = 0
    label_smoothing: float = 0.0
    effort: float = 1.0
    memory: dict[str, Tensor] = field(default_factory=dict, repr=False)
    gather: Callable[[Tensor], Tensor] = field(default=lambda rows: rows, repr=False)
    _made: dict[Hashable, Tensor] = field(default_factory=dict, init=False, repr=False)
    _looks: list[tuple[Tensor, Tensor]] = field(default_factory=list, init=False, repr=False)

    def logits(self, x: Tensor) -> Tensor:
        """(N, K) logits of x in training mode, with gradients to the weights; one forward for each x."""
        x = self.__dict__.get("_leaf", x) if x is self.x else x
        for seen, logits in self._looks:
            if seen is x:
                return logits
        self._looks.append((x, self.model(x)))
        return self._looks[-1][1]

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """(N,) against the classes, smoothed as the training asks."""
        return functional.cross_entropy(logits, self.y, reduction="none", label_smoothing=self.label_smoothing)

    def once(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """What `make` gives, made when `key` is first asked for: terms share it, and AWP does not repeat it.

        A key holds the tensors it depends on, by identity, and so keeps them from being replaced by others.
        """
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def judged(self, x: Tensor) -> Tensor:
        """(N, K) logits of x in evaluation mode, without gradients, as an attack sees them."""
        return self.taught(self.model, x)

    def taught(self, teacher: nn.Module, x: Tensor) -> Tensor:
        """(N, K) logits of x that another network gives, in evaluation mode, without gradients."""

        def ask() -> Tensor:
            with torch.no_grad(), isolated(number(self.seed, "teacher", self.epoch, self.step), x.device):
                logits: Tensor = viewed(Model.of(teacher), "eval")(x)
                return logits

        return self.once(("taught", teacher, x), ask)

    def adversarial(self, attack: Attack, reference: Tensor | None = None) -> Tensor:
        """(N, …) the strongest examples `attack` finds inside the threat, the network in evaluation mode.

        reference: (N, K) the logits that the objective "kl" climbs away from; None is what the network says of x.
        """
        if reference is None and getattr(attack, "objective", None) in ("kl", kl):
            reference = self.judged(self.x)
        steps = getattr(attack, "steps", 1)
        if self.effort < 1 and steps > 1:
            attack = replace(attack, steps=max(1, round(self.effort * steps)))  # type: ignore[call-arg]

        def found() -> Tensor:
            assert self.threat is not None  # Defense.check saw to it
            problem = pose(
                self.x,
                self.y,
                self.threat,
                self.model.bounds,
                seed=number(self.seed, "attack", self.epoch),
                index=self.index,
                seek="strongest",
                reference=reference,
            )
            return attack.on(viewed(self.model, "eval"), problem).x

        return self.once(("adversarial", attack, reference), found)

    def seen(self, x: Tensor, y: Tensor | None = None) -> Seen:
        """Cross-entropy at x (N, …) and its gradient by x, as an attack sees them: one forward, one backward.

        y: (N,) other classes than those of the batch. x need not be inside the threat, only in the model's bounds.
        """
        y = self.y if y is None else y
        opponent = viewed(self.model, "eval")
        problem = pose(x, y, L2(), self.model.bounds)
        with opponent.quiet(), isolated(number(self.seed, "seen", self.epoch, self.step), x.device):
            return Oracle(opponent, len(x), x.device).gradient(problem, x, cross_entropy)

    def sensitive(self) -> Tensor:
        """(N, …) the clean examples as a leaf that logits can be differentiated by, in training mode.

        The loop makes x such a leaf where the defense `differentiates`, so that all terms share one forward.
        """
        return self.x if self.x.requires_grad else self._leaf

    @cached_property
    def slope(self) -> Tensor:
        """(N, …) the gradient of cross-entropy by the clean examples, in training mode, itself differentiable."""
        at = self.sensitive()
        return pulled(self.cross_entropy(self.logits(at)).sum(), at)

    def renewed(self) -> Context:
        """The same batch with all that was made `once`, but no forwards: the weights have moved since."""
        fresh = replace(self)
        fresh._made.update(self._made)
        return fresh

    @cached_property
    def _leaf(self) -> Tensor:
        return self.x.detach().requires_grad_(True)

    @cached_property
    def region(self) -> Region:
        """Where each example may be moved to."""
        assert self.threat is not None  # Defense.check saw to it
        return self.threat.around(self.x.detach(), self.model.bounds)

    def draws(self, name: str) -> Draws:
        """A stream of random numbers of that name, new in every epoch; address it with `index`."""
        return Draws(self.seed, (name, self.epoch))

    def accuracy(self) -> tuple[Tensor, Tensor]:
        """(N,) the share of an example's looks so far that gave its class: of all, and of the moved ones alone.

        NaN where there was no such look.
        """
        hits = [((logits.argmax(1) == self.y).float(), self._moved(x)) for x, logits in self._looks]
        every, moved = [hit for hit, _ in hits], [hit for hit, moved in hits if moved]
        none = torch.full(self.y.shape, torch.nan, device=self.y.device)
        return (torch.stack(every).mean(0) if every else none, torch.stack(moved).mean(0) if moved else none)

    def _moved(self, x: Tensor) -> bool:
        return x is not self.x and x is not self.__dict__.get("_leaf")


def pulled(outputs: Tensor, at: Tensor, vector: Tensor | None = None, *, keep: bool = True) -> Tensor:
    """The gradient of `outputs` by the leaf `at`, weighted by `vector`; with `keep` itself differentiable.

    Raises:
        ModelError: the outputs do not depend on the input.
    """
    found = None
    if outputs.requires_grad:
        (found,) = torch.autograd.grad(outputs, at, vector, create_graph=keep, retain_graph=True, allow_unused=True)
    if found is None:
        raise ModelError(
            "the logits do not depend differentiably on the input: there is no input gradient to learn from. Remove "
            "the .detach(), no_grad() or step function in the network"
        )
    gradient: Tensor = found
    return gradient


def viewed(model: Model, mode: Literal["eval", "as-is"]) -> Model:
    """The same network, weights shared, seen in another mode."""
    view = copy.copy(model)
    view.mode = mode
    return view


def number(seed: int, *path: str | int) -> int:
    """A seed of 63 bits for what stands at `path` under `seed`, for generators that take no path."""
    digest = hashlib.sha256(repr((seed, path)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1

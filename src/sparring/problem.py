"""The shared words: Goal, Region, Problem, Seen, Outcome. Inputs are checked here.

One sign, stated once: a larger objective is worse for the model, everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self, get_args, runtime_checkable

import torch
from torch import Tensor

from sparring.draws import Draws
from sparring.errors import InputError
from sparring.rows import Rows, column
from sparring.values import SEED, check_whole

Seek = Literal["any", "nearest", "strongest"]


@dataclass(frozen=True)
class Goal(Rows):
    """What would count as fooling the model.

    label: (N,) the class the model should say; with `targeted`, the class the adversary wants instead.
    aim: (N,) a wrong class to climb towards, while any wrong class still counts; None climbs to the nearest.
    reference: (N, K) logits to climb away from (TRADES and its kin); None for the rest.
    confidence: how far the winning logit must lead (the kappa of Carlini & Wagner).
    """

    label: Tensor
    targeted: bool = False
    aim: Tensor | None = None
    reference: Tensor | None = None
    confidence: float = 0.0

    def contest(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """(toward, away), each (N,): of scores (N, K), the one that must win and the one that must lose."""
        own = scores.gather(1, self.label[:, None]).squeeze(1)
        if self.aim is not None and not self.targeted:
            return scores.gather(1, self.aim[:, None]).squeeze(1), own
        others = scores.scatter(1, self.label[:, None], -torch.inf).amax(1)
        return (own, others) if self.targeted else (others, own)

    def reached(self, logits: Tensor) -> Tensor:
        """(N,) bool: the model errs as wanted."""
        said = logits.argmax(1)
        won = said == self.label if self.targeted else said != self.label
        if self.confidence > 0:
            own = logits.gather(1, self.label[:, None]).squeeze(1)
            others = logits.scatter(1, self.label[:, None], -torch.inf).amax(1)
            lead = own - others if self.targeted else others - own
            won = won & (lead >= self.confidence)
        return won


class Region(Rows):
    """The ball around each example cut with the valid input range; threats/ holds one per norm."""

    centre: Tensor  # (N, …) the clean examples
    radius: Tensor  # (N,) inf asks for the nearest adversarial example

    @property
    def reach(self) -> Tensor:
        """(N,) the natural length of a step that crosses the ball, in the units of `steepest`."""
        raise NotImplementedError

    def distance(self, x: Tensor) -> Tensor:
        """(N,) how far x is from the centre."""
        raise NotImplementedError

    def contains(self, x: Tensor) -> Tensor:
        """(N,) bool: inside the ball and the input range, to the stated slack."""
        raise NotImplementedError

    def project(self, x: Tensor) -> Tensor:
        """The nearest point of ball ∩ range."""
        raise NotImplementedError

    def steepest(self, gradient: Tensor, x: Tensor) -> Tensor:
        """argmax <gradient, d> over ||d|| <= 1, among the directions in which x can still move."""
        raise NotImplementedError

    def moved(self, x: Tensor, gradient: Tensor, share: float = 1.0) -> Tensor:
        """x, one steepest step of a share of the reach on; not projected."""
        return x + column(share * self.reach, x) * self.steepest(gradient, x)

    def sample(self, draws: Draws, index: Tensor, step: int) -> Tensor:
        """A random point of ball ∩ range."""
        raise NotImplementedError

    def resized(self, radius: Tensor) -> Self:
        """The same centre and range with another radius (N,)."""
        raise NotImplementedError

    def farthest(self) -> Tensor:
        """(N,) how far the farthest point of the input range is."""
        raise NotImplementedError

    @property
    def masked(self) -> bool:
        """Whether part of the input is held still."""
        raise NotImplementedError

    def unbounded(self) -> Self:
        """The input range alone."""
        return self.resized(torch.full_like(self.radius, torch.inf))


@runtime_checkable
class Threat(Protocol):
    """What may move: Linf(8/255), L2(0.5), L1(12), L0(10)."""

    @property
    def radius(self) -> float | Tensor | None: ...

    def around(self, x: Tensor, bounds: tuple[float, float]) -> Region:
        """The region of each example of x (N, …)."""
        ...


@dataclass(frozen=True)
class Problem(Rows):
    """One question per row: starting at x, inside region, reach the goal.

    slot: (N,) the row's place in the outermost call, where the oracle keeps its counts.
    index: (N,) the example's identity, which its random numbers are a function of.
    clean: (N, K) the logits at x from the opening look; None while training, where nobody looked.
    label: (N,) what the model should say, also where the adversary wants one class; None where nobody said it.
    """

    slot: Tensor
    index: Tensor
    x: Tensor
    goal: Goal
    region: Region
    draws: Draws
    seek: Seek = "any"
    clean: Tensor | None = None
    label: Tensor | None = None


def pose(
    x: Tensor,
    y: Tensor | None,
    threat: Threat,
    bounds: tuple[float, float],
    *,
    targets: Tensor | None = None,
    seed: int = 0,
    index: Tensor | None = None,
    seek: Seek | None = None,
    reference: Tensor | None = None,
) -> Problem:
    """The checked problem of each example of x (N, …); see `Attack.__call__` for the arguments, Goal for `reference`.

    Raises:
        InputError: x, y, targets, index or threat cannot be used; the message names value and remedy.
    """
    check_whole("seed", seed, SEED)
    if seek is not None and seek not in get_args(Seek):
        raise InputError(f"seek is {seek!r}; use one of {', '.join(get_args(Seek))}, or None")
    check_threat(threat)
    x = check_inputs(x, bounds)
    wanted = check_labels("y", y, x) if targets is None else check_labels("targets", targets, x)
    label = wanted if targets is None else None if y is None else check_labels("y", y, x)
    every = torch.arange(len(x), device=x.device)
    return Problem(
        slot=every,
        index=every if index is None else check_labels("index", index, x),
        x=x,
        goal=Goal(wanted, targeted=targets is not None, reference=reference),
        region=threat.around(x, bounds),
        draws=Draws(seed),
        seek=seek or ("nearest" if threat.radius is None else "any"),
        label=label,
    )


Objective = Callable[[Tensor, Goal], Tensor]  # (N, K) -> (N,); larger is worse for the model


@dataclass(frozen=True)
class Seen(Rows):
    """What the oracle saw: logits (N, K), score (N,), and the score's gradient by the input (N, …).

    Of an objective with M scores a row they are (N, M) and (N, M, …).
    """

    logits: Tensor
    score: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class Outcome(Rows):
    """What an attack found, row by row.

    x: (N, …) the adversarial example where `success`, else a point inside the region the model gets right.
    success: (N,) bool, confirmed by a fresh forward pass: the model errs inside the threat.
    distance: (N,) from the clean example to x, in the threat's norm.
    score: (N,) the attack's own objective at x; -inf where it never looked.
    forwards, backwards: (N,) passes spent on the row, the opening look and the verification included.
    zero_gradients: (N,) how many of the gradients were exactly zero: a model that hides, not one that resists.
    """

    x: Tensor
    success: Tensor
    distance: Tensor
    score: Tensor
    forwards: Tensor
    backwards: Tensor
    zero_gradients: Tensor

    @classmethod
    def none(cls, problem: Problem) -> Outcome:
        """Nothing found yet: the clean example, untouched."""
        rows = len(problem.index)
        nothing = torch.zeros(rows, dtype=torch.int64, device=problem.x.device)
        return cls(
            x=problem.x,
            success=nothing.bool(),
            distance=problem.x.new_zeros(rows),
            score=problem.x.new_full((rows,), -torch.inf),
            forwards=nothing,
            backwards=nothing,
            zero_gradients=nothing,
        )

    def better(self, new: Outcome, seek: Seek) -> Outcome:
        """Row by row the better of two: success first, then the smaller distance or the larger score."""
        if seek == "strongest":
            return new
        gain = new.score > self.score
        if seek == "nearest":
            gain = torch.where(self.success, new.distance < self.distance, gain)
        return new.where((new.success & ~self.success) | ((new.success == self.success) & gain), self)


def check_inputs(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """x as the attacks compute with it: floating, finite, inside the bounds, detached.

    Raises:
        InputError: names the first offending example, its value, and the remedy.
    """
    if not isinstance(x, Tensor):
        raise InputError(f"x is a {type(x).__name__}; pass a torch tensor (N, …)")
    if x.ndim < 2:
        raise InputError(f"x has shape {tuple(x.shape)}; the first axis must be the example: use x[None]")
    if not x.is_floating_point():
        raise InputError(f"x is {x.dtype}; scale it to the model's bounds first, such as x.float() / 255")
    x = x.detach()
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()  # the arithmetic of an attack needs more digits than these have
    low, high = bounds
    inside = (x >= low) & (x <= high)  # False for NaN too
    if not bool(inside.all()):
        row, *rest = (int(i) for i in (~inside).nonzero()[0])
        raise InputError(
            f"x[{', '.join(map(str, [row, *rest]))}] is {float(x[(row, *rest)])}, outside the bounds "
            f"({low:g}, {high:g}); rescale x, or wrap the network: sp.Model(net, bounds=(low, high))"
        )
    return x


def check_threat(threat: object) -> None:
    """Raises InputError where `threat` is none, or a class that nobody has called."""
    if isinstance(threat, type) and hasattr(threat, "around"):
        raise InputError(
            f"threat is the class {threat.__name__}, not called; pass one such as sp.{threat.__name__}(8/255)"
        )
    if isinstance(threat, type) or not isinstance(threat, Threat):
        raise InputError(f"threat is {threat!r}; pass one such as sp.Linf(8/255)")


def check_labels(name: str, labels: Tensor | Sequence[int] | None, x: Tensor) -> Tensor:
    """labels (N,) int64 on x's device.

    Raises:
        InputError: not integers, or not one an example.
    """
    if labels is None:
        raise InputError(f"{name} is None; pass one class an example, a tensor of shape ({len(x)},)")
    try:
        labels = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} is {labels!r}; pass class numbers, a tensor of shape ({len(x)},)") from None
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise InputError(f"{name} is {labels.dtype}; pass class numbers as integers, such as {name}.long()")
    if labels.shape != (len(x),):
        raise InputError(f"{name} has shape {tuple(labels.shape)} for {len(x)} examples; it must be ({len(x)},)")
    return labels.to(x.device, torch.int64)


def check_classes(name: str, labels: Tensor, classes: int, index: Tensor | None = None) -> None:
    """Raises InputError where a label is not one of the model's classes; `index` (N,) numbers the examples."""
    wrong = (labels < 0) | (labels >= classes)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        example = row if index is None else int(index[row])
        raise InputError(
            f"{name} is {int(labels[row])} for example {example}, but the model has {classes} classes "
            f"(0 to {classes - 1}); correct the labels, or check that the model is the one meant"
        )

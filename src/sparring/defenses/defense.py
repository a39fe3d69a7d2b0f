"""What every defense shares: a loss per example. Defenses add and scale; a penalty alone is given cross-entropy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from sparring.attacks import Attack
from sparring.defenses.context import Context
from sparring.errors import InputError
from sparring.problem import Threat
from sparring.values import Amount, check_fields


class Learner(Protocol):
    """What the loop lends a defense to learn with; it joins the work of all processes."""

    def gradients(self, losses: Tensor) -> list[Tensor]:
        """The gradient of the batch's mean loss by each weight, none of which is touched."""
        ...

    def backward(self, losses: Tensor) -> None:
        """Leave the gradient of the batch's mean loss (N,) in the weights, and in any other leaf."""
        ...

    def update(self) -> None:
        """One step of the optimizer."""
        ...

    @property
    def weights(self) -> list[nn.Parameter]:
        """What is learned."""
        ...

    @property
    def buffers(self) -> list[Tensor]:
        """What the network counts as it looks, such as the statistics of BatchNorm."""
        ...


@dataclass(frozen=True)
class Defense:
    """A frozen value; its repr is its provenance. Subclasses are dataclasses that define `loss`."""

    promise: ClassVar[str] = ""  # what it is for, in a line,
    broken_by: ClassVar[str] = ""  # and what is known to defeat it
    teaches: ClassVar[bool] = True  # False: a penalty, which alone teaches no classes
    differentiates: ClassVar[bool] = False  # True: input gradients of its own looks, which torch.compile lacks
    attacked: ClassVar[bool] = False  # True: it needs a threat with a radius
    paced: ClassVar[bool] = False  # True: the loss depends on the share of the training that is done

    def __post_init__(self) -> None:
        check_fields(self)

    def check(self, threat: Threat | None) -> None:
        """Raises InputError where this defense cannot train against the threat."""
        if not self.attacked:
            return
        if threat is None:
            raise InputError(f"{type(self).__name__} has threat=None; say what may move, such as sp.Linf(8/255)")
        if hasattr(self, "attack"):
            if not isinstance(self.attack, Attack):
                raise InputError(f"{type(self).__name__} has attack={self.attack!r}; pass one such as sp.PGD(steps=10)")
            if self.attack.minimal:
                raise InputError(
                    f"{self.attack!r} looks for the nearest example, and training wants the strongest one inside the "
                    "threat; pass one such as sp.PGD(steps=10)"
                )
            self.attack.check(threat)
        elif getattr(threat, "radius", None) is None:
            raise InputError(
                f"{type(self).__name__} needs a radius, and the threat is {threat!r}: write sp.Linf(8/255)"
            )

    def lesson(self) -> Defense | None:
        """What a teacher must learn with before this defense can; None where it needs none, or has one."""
        return None

    def loss(self, context: Context) -> Tensor:
        """One loss per example (N,), never reduced: the learner takes the mean.

        Networks are asked through the context, so that terms of a loss share forwards and attacks.
        """
        raise NotImplementedError

    def learn(self, context: Context, learner: Learner) -> None:
        """Learn from one batch: one backward, one update. Few defenses do otherwise."""
        learner.backward(self.loss(context))
        learner.update()

    def __add__(self, other: Defense) -> Defense:
        if not isinstance(other, Defense):
            return NotImplemented
        return Sum((*terms(self), *terms(other)))

    def __mul__(self, factor: float) -> Defense:
        if not isinstance(factor, int | float):
            return NotImplemented
        return Scaled(self, float(factor))

    __rmul__ = __mul__


@dataclass(frozen=True)
class Sum(Defense):
    """The sum of the losses of several defenses: TRADES() + 0.1 * InputGradient()."""

    parts: tuple[Defense, ...]
    teaches: ClassVar[bool] = False  # its parts may

    def __post_init__(self) -> None:
        super().__post_init__()
        for part in self.parts:
            check_loss(part, "added to another")

    def loss(self, context: Context) -> Tensor:
        losses = [part.loss(context) for part in self.parts]
        return sum(losses[1:], start=losses[0])

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.parts))


@dataclass(frozen=True)
class Scaled(Defense):
    """A defense whose loss is multiplied by a factor of at least 0."""

    part: Defense
    factor: Amount
    teaches: ClassVar[bool] = False  # its part may

    def __post_init__(self) -> None:
        super().__post_init__()
        check_loss(self.part, "scaled")

    def loss(self, context: Context) -> Tensor:
        return self.factor * self.part.loss(context)

    def __repr__(self) -> str:
        inner = f"({self.part!r})" if isinstance(self.part, Sum) else repr(self.part)
        return f"{self.factor:g} * {inner}"


def terms(defense: Defense) -> tuple[Defense, ...]:
    """What a sum adds; a defense that is none is its only term."""
    return defense.parts if isinstance(defense, Sum) else (defense,)


def nested(defense: Defense) -> Iterator[Defense]:
    """A defense and all that it is made of."""
    yield defense
    for field in fields(defense):
        value = getattr(defense, field.name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Defense):
                yield from nested(one)


def teachers(defense: Defense) -> list[nn.Module]:
    """Every network that a defense learns from."""
    found = [getattr(part, "teacher", None) for part in nested(defense)]
    return [teacher for teacher in found if teacher is not None]


def prepared(defense: Defense, educate: Callable[[Defense], nn.Module]) -> Defense:
    """The defense with all the teachers it needs: `educate` trains a new network with a lesson."""
    lesson = defense.lesson()
    changed: dict[str, Any] = {} if lesson is None else {"teacher": educate(lesson)}
    for field in fields(defense):
        value = getattr(defense, field.name)
        if isinstance(value, Defense):
            changed[field.name] = prepared(value, educate)
        elif isinstance(value, tuple) and any(isinstance(one, Defense) for one in value):
            changed[field.name] = tuple(prepared(one, educate) for one in value)
    return replace(defense, **changed) if changed else defense


def grounded(defense: Defense, ground: Defense) -> Defense:
    """A defense that teaches classes: itself, or where it is penalties alone, they on `ground`."""
    if any(part.teaches for part in nested(defense)):
        return defense
    if type(defense).learn is Defense.learn:
        return ground + defense
    inner = {
        field.name: grounded(value, ground)
        for field in fields(defense)
        if isinstance(value := getattr(defense, field.name), Defense)
    }
    return replace(defense, **inner)


def check_loss(defense: Defense, use: str) -> None:
    """Raises InputError for a defense that is more than a loss, and so cannot be a part of one."""
    if not isinstance(defense, Defense):
        raise InputError(f"{defense!r} is no defense; give a value such as sp.defenses.TRADES()")
    if type(defense).learn is not Defense.learn:
        raise InputError(f"{defense!r} is more than a loss and cannot be {use}; use it on the outside, or alone")

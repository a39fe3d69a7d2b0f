"""Schedules: what a learning rate, a radius or the steps of an attack are multiplied by as training goes on.

A schedule is a function of the share of the training that is done, in (0, 1), so it can be asked anywhere and a
resumed run asks it the same. Steps ask at their middle: a rate of 0 at the ends is never a wasted step.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from numbers import Real

from sparring.errors import InputError
from sparring.values import Amount, check_fields

Schedule = Callable[[float], float]


@dataclass(frozen=True)
class Linear:
    """From `start` to `end`, reached when the share `until` is done, and `end` from there."""

    start: Amount = 0.0
    end: Amount = 1.0
    until: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        _share("until", self.until)

    def __call__(self, done: float) -> float:
        return self.start + (self.end - self.start) * min(1.0, done / self.until)


@dataclass(frozen=True)
class OneCycle:
    """Linearly up from 0 to 1 until the share `peak`, and linearly down to 0 (Smith & Topin 2018)."""

    peak: float = 0.3

    def __post_init__(self) -> None:
        check_fields(self)
        _share("peak", self.peak)

    def __call__(self, done: float) -> float:
        if done <= self.peak:
            return done / self.peak
        return (1 - done) / (1 - self.peak)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 to 0 (Loshchilov & Hutter 2017), after a linear rise over the share `warmup`."""

    warmup: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.warmup < 1:
            raise InputError(f"warmup is {self.warmup}; give a share of the training in [0, 1)")

    def __call__(self, done: float) -> float:
        if done < self.warmup:
            return done / self.warmup
        return (1 + cos(pi * (done - self.warmup) / (1 - self.warmup))) / 2


@dataclass(frozen=True)
class Milestones:
    """1 at first, multiplied by `factor` at each of the shares `at`."""

    at: tuple[float, ...] = (0.5, 0.75)
    factor: Amount = 0.1

    def __post_init__(self) -> None:
        check_fields(self)
        if not _shares(self.at):
            raise InputError(f"at is {self.at}; give increasing shares of the training, each in (0, 1)")

    def __call__(self, done: float) -> float:
        return self.factor ** bisect(self.at, done)


SCHEDULES: dict[str, type[Linear] | type[OneCycle] | type[Cosine] | type[Milestones]] = {
    "linear": Linear,
    "one-cycle": OneCycle,
    "cosine": Cosine,
    "milestones": Milestones,
}


def _shares(values: object) -> bool:
    """Whether the values are increasing shares, each in (0, 1)."""
    if not isinstance(values, tuple | list) or not all(isinstance(one, Real) for one in values):
        return False
    return list(values) == sorted(values) and all(0 < one < 1 for one in values)


def _share(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise InputError(f"{name} is {value}; give a share of the training in (0, 1]")

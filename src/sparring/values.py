"""The values that a parameter may have: one rule for attacks, defenses, transforms and all else that is configured.

A parameter says its range in its type, such as `steps: Count`, and `check_fields` holds every field to it. A bare `int`
or `float` may have any sign, but is never a bool, NaN or infinite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, fields
from functools import lru_cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from sparring.errors import InputError

LARGEST = 3.4e38  # that single precision holds, in which networks compute
WHOLE = 2**63 - 1  # the largest that torch counts to


@dataclass(frozen=True)
class Range:
    """Finite numbers from `low` to `high`. above: `low` itself is none of them. below: nor is `high`."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def holds(self, number: Any) -> bool:
        """Whether the number is one of them; NaN and infinity never are."""
        over = self.low < number if self.above else self.low <= number
        under = number < self.high if self.below else number <= self.high
        return bool(over and under and -LARGEST <= number <= LARGEST)

    def words(self, kind: type) -> str:
        """What to give, in words."""
        ends = f"{'(' if self.above else '['}{self.low:g}, {self.high:g}{')' if self.below else ']'}"
        start = "a whole number" if kind is int else "a finite number"
        if self.high < math.inf:
            return f"{start} from {self.low:g} to {self.high:g}" if kind is int else f"a number in {ends}"
        if self.low > -math.inf:
            return f"{start} {'above' if self.above else 'of at least'} {self.low:g}"
        return start


Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Amount = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, above=True)]
Share = Annotated[float, Range(0, 1)]
PositiveShare = Annotated[float, Range(0, 1, above=True)]
SEED = Range(0, 2**63 - 1)


def check_fields(value: object, counts: bool = False) -> None:
    """Hold every field of a dataclass to the type it is declared with; numbers of NumPy become Python's own.

    counts: a bare `int` counts something, and so is at least 0.

    Raises:
        InputError: a field has another value; the message names the class, the field, the value and the remedy.
    """
    for name, hint in _hints(cast(Hashable, type(value))).items():
        given = getattr(value, name)
        taken, wanted = _read(Natural if counts and hint is int else hint, given)
        if wanted:
            raise InputError(f"{type(value).__name__} has {name}={given!r}; give {wanted}")
        if taken is not given:
            object.__setattr__(value, name, taken)


def check_whole(name: str, given: object, values: Range = Range(1)) -> int:
    """The argument `name` as an int in `values`.

    Raises:
        InputError: it is something else; True is no number.
    """
    taken, wanted = _read(Annotated[int, values], given)
    if wanted:
        wanted = "a whole number from 0 to 2**63 - 1" if values is SEED else wanted
        raise InputError(f"{name} is {given!r}; give {wanted}")
    return int(taken)


@lru_cache(None)
def _hints(kind: Any) -> dict[str, Any]:
    try:
        hints = get_type_hints(kind, include_extras=True)
    except NameError:  # a class made inside a function names types that cannot be found from here
        return {}
    return {field.name: hints[field.name] for field in fields(kind) if field.init}


def _read(hint: Any, given: Any) -> tuple[Any, str]:
    """The value as it is kept, and what should have been given instead, which is empty where nothing is wrong.

    A hint that is none of those below asks nothing here.
    """
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return _one_of(get_args(hint), given)
    if origin is Literal:
        known = get_args(hint)
        return given, "" if given in known else " or ".join(map(repr, known))
    if origin is Callable:
        return given, "" if callable(given) else "a function"
    kind, values = (get_args(hint)[0], get_args(hint)[1]) if origin is Annotated else (hint, Range())
    if kind is bool:
        return given, "" if isinstance(given, bool) else "True or False"
    if kind is str:
        return given, "" if isinstance(given, str) else "a name"
    if kind not in (int, float) or not isinstance(values, Range):
        return given, ""
    fits = isinstance(given, Integral if kind is int else Real) and not isinstance(given, bool)
    most = WHOLE if kind is int else LARGEST
    if not (fits and values.holds(given) and abs(given) <= most):
        beyond = fits and values.low < given < math.inf == values.high
        return given, values.words(kind) + (f", and at most {most:g}" if beyond else "")
    return (given if type(given) in (int, float) else kind(given)), ""


def _one_of(hints: tuple[Any, ...], given: Any) -> tuple[Any, str]:
    if given is None and NoneType in hints:
        return None, ""
    tried = [_read(hint, given) for hint in hints if hint is not NoneType]
    right = [one for one in tried if not one[1]]
    if right:
        return right[0]
    return given, " or ".join([wanted for _, wanted in tried] + ["None"] * (NoneType in hints))

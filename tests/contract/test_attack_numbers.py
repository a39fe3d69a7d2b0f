"""Numbers are checked where they are given, by one rule for attacks, defenses, transforms and all else with fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch

import sparring as sp
from models import linear
from sparring import defenses, gradients, training
from sparring.errors import InputError

NAN, INF = float("nan"), float("inf")


def registered() -> dict[str, Any]:
    found = {f"attack {name}": kind() for name, kind in sp.attacks.available().items()}
    found |= {f"defense {name}": kind() for name, kind in defenses.available().items()}
    for module in (defenses, gradients, training):
        for name in getattr(module, "__all__", sorted(vars(module))):
            kind = getattr(module, name)
            if isinstance(kind, type) and is_dataclass(kind):
                for arguments in ((), (0.5,), (2,), (linear(2, 2),), (sp.PGD(),)):
                    try:
                        found.setdefault(f"{module.__name__.rpartition('.')[2]} {name}", kind(*arguments))
                        break
                    except (InputError, TypeError):
                        continue
    return found


EVERY = registered()


def numeric() -> Iterator[tuple[str, str, type, tuple[Any, ...], bool]]:
    """Every field that is a number: whose it is, its name, int or float, its range, whether it may be None."""
    for which, value in EVERY.items():
        hints = get_type_hints(type(value), include_extras=True)
        for field in fields(value):
            kinds = [hints[field.name]]
            parts = get_args(kinds[0]) if get_origin(kinds[0]) is not Annotated else ()
            kinds = [one for one in parts if one is not NoneType] or kinds
            if len(kinds) != 1:
                continue
            ranges = tuple(one for one in getattr(kinds[0], "__metadata__", ()) if hasattr(one, "low"))
            kind = get_args(kinds[0])[0] if get_origin(kinds[0]) is Annotated else kinds[0]
            if kind in (int, float):
                yield which, field.name, kind, ranges, NoneType in parts


NUMBERS = list(numeric())
EACH = pytest.mark.parametrize(
    ("which", "name", "kind", "ranges", "optional"), NUMBERS, ids=[f"{one[0]}.{one[1]}" for one in NUMBERS]
)


def test_there_are_many() -> None:
    assert len(NUMBERS) > 80
    assert {"attack pgd", "attack carlini_wagner", "attack mifgsm", "defense trades"} <= {one[0] for one in NUMBERS}


@EACH
def test_what_is_no_number_is_refused(
    which: str, name: str, kind: type, ranges: tuple[Any, ...], optional: bool
) -> None:
    for value in (True, False, "1", "x", NAN, INF, -INF, [1], torch.tensor([1.0, 2.0]), np.bool_(True)):
        with pytest.raises(InputError, match=name):
            replace(EVERY[which], **{name: value})


@EACH
def test_what_is_out_of_range_is_refused_and_named(
    which: str, name: str, kind: type, ranges: tuple[Any, ...], optional: bool
) -> None:
    beyond: list[float] = []
    for one in ranges:
        beyond += [one.low - 1, *([one.low] if one.above else [])] if one.low > -INF else []
        beyond += [one.high + 1, *([one.high] if one.below else [])] if one.high < INF else []
    for value in beyond:
        with pytest.raises(InputError, match=name) as told:
            replace(EVERY[which], **{name: kind(value)})
        assert f"{kind(value)!r}" in str(told.value)
    if kind is int:
        with pytest.raises(InputError, match=name):
            replace(EVERY[which], **{name: 1.5})
    if not optional:
        with pytest.raises(InputError, match=name):
            replace(EVERY[which], **{name: None})


@EACH
def test_a_number_of_numpy_is_as_good_as_one_of_python(
    which: str, name: str, kind: type, ranges: tuple[Any, ...], optional: bool
) -> None:
    value = getattr(EVERY[which], name)
    if value is None:
        return
    made = replace(EVERY[which], **{name: np.int64(value) if kind is int else np.float64(value)})
    assert type(getattr(made, name)) in (int, float)
    assert made == EVERY[which]


CASES: list[Any] = [
    lambda: sp.PGD(step_size=0),
    lambda: sp.PGD(step_size=-0.1),
    lambda: sp.PGD(step_size=NAN),
    lambda: sp.PGD(steps=True),
    lambda: sp.PGD(steps=0),
    lambda: sp.PGD(random_start="false"),
    lambda: sp.MIFGSM(decay=NAN),
    lambda: sp.CarliniWagner(learning_rate=0),
    lambda: sp.CarliniWagner(learning_rate=-1.0),
    lambda: sp.CarliniWagner(initial_c=0),
    lambda: sp.CarliniWagner(initial_c=-1e-3),
    lambda: sp.CarliniWagner(confidence=INF),
    lambda: sp.CarliniWagner(tau="x"),
    lambda: sp.APGD(rho=NAN),
    lambda: sp.FGSM(clip="no"),
    lambda: sp.Square(p=0),
    lambda: sp.threats.parse(None),  # type: ignore[arg-type]
    lambda: sp.Linf(True),
    lambda: sp.Linf(INF),
    lambda: sp.threats.parse("linf:1e400"),
    lambda: sp.threats.parse("linf:"),
    lambda: sp.threats.parse("linf:8/"),
    lambda: sp.PGD(step_size=1e300),
    lambda: sp.PGD(n_targets=10**400),
    lambda: training.Milestones(at=("x",)),  # type: ignore[arg-type]
    lambda: training.Milestones(at=3),  # type: ignore[arg-type]
    lambda: training.Milestones(factor=-1.0),
    lambda: training.Linear(start=-1.0),
    lambda: training.SGD(momentum=1.0),
    lambda: sp.Model(linear(2, 2), mean=[NAN]),
    lambda: sp.Model(linear(2, 2), mean="a"),  # type: ignore[arg-type]
    lambda: sp.Model(linear(2, 2), mean=[]),
    lambda: sp.Model(linear(2, 2), std=[True]),
    lambda: sp.Model(linear(2, 2), std=INF),
    lambda: sp.Model(linear(2, 2), bounds=("0", "1")),  # type: ignore[arg-type]
    lambda: sp.Model(linear(2, 2), bounds=(np.False_, np.True_)),  # type: ignore[arg-type]
    lambda: sp.Model(torch.nn.Linear),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_cases_that_were_found(number: int) -> None:
    with pytest.raises(InputError):
        CASES[number]()


def test_an_attack_that_leaves_all_numbers_is_told_and_the_network_is_not_blamed() -> None:
    net, x = linear(6, 3), torch.rand(8, 6)
    with torch.no_grad():
        y = net(x).argmax(1)
    with pytest.raises(InputError, match="to a point that is not finite; its numbers, or the radius, are too large"):
        sp.MIFGSM(decay=1e30)(net, x, y, sp.L2(1e-3))


def test_a_negative_step_no_longer_reads_as_robustness() -> None:
    """It leaves an attack that breaks nothing."""
    net = linear(6, 3)
    x = torch.rand(20, 6)
    with torch.no_grad():
        y = net(x).argmax(1)
    assert sp.PGD(step_size=0.1)(net, x, y, sp.Linf(0.3)).success.any()
    with pytest.raises(InputError, match=r"step_size=-0.1; give a finite number above 0"):
        sp.PGD(step_size=-0.1)

"""Changing any field of anything registered changes its identity; making it anew does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any

import pytest
import torch

import sparring as sp
from models import linear
from sparring import defenses, gradients, rules, threats, training
from sparring.errors import SparringError
from sparring.evaluation import PLANS, Rung
from sparring.provenance import digest, plain
from sparring.training.settings import Settings

# What may be asked of a field, tried in turn until one is taken that is not the field's value.
OTHERS: tuple[Any, ...] = (
    True, False, 1, 2, 3, 0, 5, 0.5, 0.25, 1.5, 7.0, 0.9, None,
    "margin", "kl", "cross_entropy", "dlr", "l2", "linf", "closest", "best", "bisect", "reach", "logits", "mean", "max",
    "bilinear", "nearest", "straight", "batch", "sgd", "some name", (0.5, 0.9), (2, 3), ("some name",), [1, 2],
    torch.tensor([0.25]), linear(2, 2), (training.Flip(),), sp.PGD(steps=2), defenses.Standard(), lambda x: x,
)  # fmt: skip
# Fields that say how fast it goes and not what comes out.
CIRCUMSTANCES = {"batch_size"}


def instances(module: Any) -> Iterator[tuple[str, Any]]:
    """Every public dataclass of a package that can be made without arguments, or with one number."""
    for name in getattr(module, "__all__", sorted(vars(module))):
        kind = getattr(module, name)
        if isinstance(kind, type) and is_dataclass(kind):
            for arguments in ((), (0.5,), (2,), (linear(2, 2),), (sp.PGD(),)):
                try:
                    yield name, kind(*arguments)
                except (SparringError, TypeError):
                    continue
                break


def registered() -> dict[str, Any]:
    found = {f"attack {name}": kind() for name, kind in sp.attacks.available().items()}
    found |= {f"defense {name}": kind() for name, kind in defenses.available().items()}
    found |= {f"transform {name}": value for name, value in instances(defenses) if name not in found}
    for what in (threats, rules, gradients, training):
        found |= {f"{what.__name__.rpartition('.')[2]} {name}": value for name, value in instances(what)}
    found["rung"] = Rung("one", sp.PGD())
    found["awp"] = defenses.AWP(defenses.TRADES())
    found["sum"] = defenses.TRADES() + 0.5 * defenses.InputGradient()
    found["settings of training"] = Settings(validation=0.2)
    return found


EVERY = registered()


def changed(value: Any, name: str) -> Any:
    """The value with another one in that field, or None where nothing else is taken."""
    old = getattr(value, name)
    for other in OTHERS:
        if isinstance(other, type(old)) and not isinstance(other, torch.Tensor) and other == old:
            continue
        try:
            new = replace(value, **{name: other})
        except (SparringError, TypeError, ValueError, AttributeError, RuntimeError):
            continue
        if digest(plain(getattr(new, name))) != digest(plain(old)):
            return new
    return None


@pytest.mark.parametrize("which", EVERY)
def test_a_change_of_any_field_is_another_identity(which: str) -> None:
    value = EVERY[which]
    known = digest(plain(value))
    tried = []
    for field in fields(value):
        if not field.init or not field.metadata.get("identity", True):
            continue
        new = changed(value, field.name)
        if new is None:
            continue
        tried.append(field.name)
        assert digest(plain(new)) != known, field.name
        assert digest(plain(replace(new, **{field.name: getattr(value, field.name)}))) == known
    constants = {field.name for field in fields(value) if isinstance(field.default, str) or field.default is MISSING}
    untried = {field.name for field in fields(value) if field.init} - set(tried) - constants
    assert not untried - CIRCUMSTANCES - {"eps", "mask", "teacher", "student"}, untried


@pytest.mark.parametrize("which", EVERY)
def test_made_anew_it_has_the_same(which: str) -> None:
    assert digest(plain(EVERY[which])) == digest(plain(registered()[which]))


def test_no_two_registered_things_share_one() -> None:
    told: dict[str, str] = {}
    for which, value in EVERY.items():
        other = told.setdefault(digest(plain(value)), which)
        assert type(EVERY[other]) is type(value), f"{which} and {other}"


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attacks_of_plans_differ_where_their_names_do(norm: str) -> None:
    for plan in PLANS.values():
        rungs = plan(norm)
        assert len({rung.name for rung in rungs}) == len(rungs)
        assert len({digest(plain(rung)) for rung in rungs}) == len(rungs)


@pytest.mark.parametrize("make", [sp.Linf, sp.L2, sp.L1, sp.L0])
def test_radii_and_masks_are_part_of_a_threat(make: Callable[[Any], Any]) -> None:
    assert digest(plain(make(1))) == digest(plain(make(1))) != digest(plain(make(2)))
    assert digest(plain(make(torch.tensor([1.0, 2.0])))) != digest(plain(make(torch.tensor([1.0, 3.0]))))
    masks = ([True, False], [True, False], [False, True])
    masked = [make(1, mask=torch.tensor(mask)) for mask in masks]
    told = [digest(plain(one)) for one in masked]
    assert told[0] == told[1] != told[2]
    assert told[0] != digest(plain(make(1)))

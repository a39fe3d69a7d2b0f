"""Every registered attack, made small, beside every threat. A newly registered attack is found here by itself."""

from __future__ import annotations

from dataclasses import fields, replace

import sparring as sp
from sparring.attacks import Attack

ATTACKS = tuple(sp.attacks.available())
NORMS = {"linf": sp.Linf, "l2": sp.L2, "l1": sp.L1, "l0": sp.L0}
SMALL = {
    "steps": 12,
    "searches": 3,
    "initial_c": 1.0,
    "learning_rate": 0.1,
    "queries": 100,
    "initial_evaluations": 8,
    "max_evaluations": 24,
}


def quick(name: str) -> Attack:
    """The registered attack of that name with few steps."""
    entry = sp.attacks.available()[name]
    attack = entry() if isinstance(entry, type) else entry
    known = {field.name for field in fields(attack)}
    return replace(attack, **{key: value for key, value in SMALL.items() if key in known})


def has_form(name: str, norm: str) -> bool:
    """Whether the attack accepts the threat."""
    try:
        quick(name).check(NORMS[norm](1))
    except sp.InputError:
        return False
    return True


FORMS = tuple((name, norm) for name in ATTACKS for norm in NORMS if has_form(name, norm))
NO_FORMS = tuple((name, norm) for name in ATTACKS for norm in NORMS if not has_form(name, norm))

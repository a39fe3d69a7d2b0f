"""AutoAttack's three versions, for comparisons with its leaderboard (Croce & Hein 2020)."""

from __future__ import annotations

from sparring.attacks.apgd import APGD
from sparring.attacks.fab import FAB
from sparring.attacks.square import Square
from sparring.evaluation.rung import Rung


def standard(norm: str) -> tuple[Rung, ...]:
    """AutoAttack: APGD-CE, APGD-T, FAB-T and Square, with the settings of its "standard" version.

    Croce & Hein 2020, section 5; for L1 Croce & Hein 2021, with five restarts and five targets. Passes an example that
    survives: 7,811 forwards and 1,900 backwards for L∞ and L2. With fewer than ten classes every wrong class is a
    target; DLR takes z(3) for z(4) with three classes, and is the margin with two, where AutoAttack warns and fails.
    """
    first, classes = (5, 5) if norm == "l1" else (1, 9)
    return (
        Rung("APGD-CE", APGD(restarts=first)),
        Rung("APGD-T", APGD(objective="dlr", n_targets=classes)),
        Rung("FAB-T", FAB(n_targets=9, final=0)),
        Rung("Square", Square(horizon=10_000)),
    )


def plus(norm: str) -> tuple[Rung, ...]:
    """AutoAttack's "plus" version: untargeted APGD-CE, APGD-DLR and FAB five times each, Square, APGD-T, FAB-T."""
    return (
        Rung("APGD-CE", APGD(restarts=5)),
        Rung("APGD-DLR", APGD(objective="dlr", restarts=5)),
        Rung("FAB", FAB(restarts=5, final=0)),
        Rung("Square", Square(horizon=10_000)),
        Rung("APGD-T", APGD(objective="dlr", n_targets=9)),
        Rung("FAB-T", FAB(n_targets=9, final=0)),
    )


def rand(norm: str) -> tuple[Rung, ...]:
    """AutoAttack's "rand" version, for randomised networks: APGD-CE and APGD-DLR, twenty draws a gradient."""
    return Rung("APGD-CE", APGD(), eot=20), Rung("APGD-DLR", APGD(objective="dlr"), eot=20)

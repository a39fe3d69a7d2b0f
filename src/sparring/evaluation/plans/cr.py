"""`cr`: constraint relaxation alone (Pan & Yao 2025), for networks whose gradients can be trusted."""

from __future__ import annotations

from sparring.attacks.constraint_relaxation import ConstraintRelaxation
from sparring.attacks.pgd import PGD
from sparring.evaluation.rung import Rung


def rungs(norm: str) -> tuple[Rung, ...]:
    """For L∞ and L2: short PGD, then walks that relax the radius, towards the classes that PGD came closest to.

    It has nothing for a network whose gradients lie, and can be points too high there: look at the verdict, or use
    `standard`.
    """
    return (
        Rung("PGD-CE", PGD(steps=10)),
        Rung("relaxation", ConstraintRelaxation(first=0), ranked="closest"),
    )

"""`standard`: the strongest number at the least cost."""

from __future__ import annotations

from sparring.attacks.apgd import APGD
from sparring.attacks.cosine_pgd import CosinePGD
from sparring.attacks.fab import FAB
from sparring.attacks.square import Square
from sparring.evaluation.rung import Rung


def rungs(norm: str) -> tuple[Rung, ...]:
    """Short rounds for every example, long ones for those that came close, others where gradients seem to lie.

    A round is PGD from scattered outputs with cosine steps (the shape of A³, Ye et al. 2022). What a later round breaks
    had nearly always come close in an earlier one, so each takes only the rows whose closest look missed by little,
    in units of the row's own clean logits. Rounds differ in objective, since what one misses another finds. At the end
    every survivor is tried with a few random queries: where those come closer than all gradients did, the gradients
    lie, and the row is given the black box and AutoAttack's members too.

    The limits were found on one MNIST network (TRADES) and three small CIFAR-10 networks, 400 to 1,500 images each.
    """
    near = [
        Rung("round", CosinePGD()),
        Rung("round, 1st class", CosinePGD(n_targets=1), within=0.8, ranked="closest"),
        Rung("round, 2nd class", CosinePGD(n_targets=1, after=1), within=0.5, ranked="closest"),
    ]
    long = [
        Rung("long, margin", CosinePGD(steps=50, objective="margin"), within=0.15),
        Rung("long, 1st class", CosinePGD(steps=50, n_targets=1), within=0.15, ranked="closest"),
        Rung("long, 2nd class", CosinePGD(steps=50, n_targets=1, after=1), within=0.15, ranked="closest"),
        Rung("longer, margin", CosinePGD(steps=60, n_targets=2, objective="margin"), within=0.08, ranked="closest"),
        Rung("longer, CE", CosinePGD(steps=60, restarts=2, objective="cross_entropy"), within=0.08),
        Rung("longer", CosinePGD(steps=60, n_targets=2), within=0.08, ranked="closest"),
        Rung("last, 3 classes", CosinePGD(steps=60, restarts=2, n_targets=3), within=0.04, ranked="closest"),
        Rung("last, margin", CosinePGD(steps=100, restarts=4, scatter=10, objective="margin"), within=0.04),
        Rung(
            "last, 2 classes",
            CosinePGD(steps=100, restarts=2, n_targets=2, objective="margin"),
            within=0.04,
            ranked="closest",
        ),
    ]
    if norm == "l0":
        return (*near, *long)
    return (
        *near,
        *long,
        Rung("probe", Square(queries=25)),
        Rung("black box", Square(queries=1000), gained="probe"),
        Rung("APGD-CE", APGD(), gained="probe"),
        Rung("APGD-T", APGD(objective="dlr", n_targets=3), gained="probe"),
        Rung("FAB-T", FAB(n_targets=3, steps=50), gained="probe"),
        Rung("Square", Square(), gained="black box"),
    )

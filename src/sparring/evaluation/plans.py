"""Plans: which attacks, in which order. Rungs are data; a plan is a function of the threat's norm."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sparring.attacks.apgd import APGD
from sparring.attacks.attack import Attack
from sparring.attacks.cosine_pgd import CosinePGD
from sparring.attacks.fab import FAB
from sparring.attacks.fgsm import FGSM
from sparring.attacks.pgd import PGD
from sparring.attacks.square import Square
from sparring.errors import InputError
from sparring.evaluation.rung import Rung
from sparring.problem import Threat


def quick(norm: str) -> tuple[Rung, ...]:
    """FGSM, PGD-40, APGD on cross-entropy, APGD on DLR towards the three runner-up classes.

    Auto-PGD has no form for L0; there PGD climbs the margin towards the runner-up classes instead.
    """
    first = (Rung("FGSM", FGSM()), Rung("PGD-40", PGD()))
    if norm == "l0":
        return (*first, Rung("PGD-40-margin-T", PGD(objective="margin", n_targets=3)))
    return (*first, Rung("APGD-CE", APGD()), Rung("APGD-DLR-T", APGD(objective="dlr", n_targets=3)))


def autoattack(norm: str) -> tuple[Rung, ...]:
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


def autoattack_plus(norm: str) -> tuple[Rung, ...]:
    """AutoAttack's "plus" version: untargeted APGD-CE, APGD-DLR and FAB five times each, Square, APGD-T, FAB-T."""
    return (
        Rung("APGD-CE", APGD(restarts=5)),
        Rung("APGD-DLR", APGD(objective="dlr", restarts=5)),
        Rung("FAB", FAB(restarts=5, final=0)),
        Rung("Square", Square(horizon=10_000)),
        Rung("APGD-T", APGD(objective="dlr", n_targets=9)),
        Rung("FAB-T", FAB(n_targets=9, final=0)),
    )


def autoattack_rand(norm: str) -> tuple[Rung, ...]:
    """AutoAttack's "rand" version, for randomised networks: APGD-CE and APGD-DLR, twenty draws a gradient."""
    return Rung("APGD-CE", APGD(), eot=20), Rung("APGD-DLR", APGD(objective="dlr"), eot=20)


def standard(norm: str) -> tuple[Rung, ...]:
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


PLANS: dict[str, Callable[[str], tuple[Rung, ...]]] = {
    "quick": quick,
    "standard": standard,
    "autoattack": autoattack,
    "autoattack-plus": autoattack_plus,
    "autoattack-rand": autoattack_rand,
}


def ladder(plan: str | Sequence[Rung | Attack], threat: Threat) -> tuple[Rung, ...]:
    """The rungs of a plan, every one fit for the threat.

    Raises:
        InputError: no plan has that name, the ladder is empty, names repeat, or an attack has no form for it.
    """
    if isinstance(plan, str):
        if plan not in PLANS:
            raise InputError(f"plan {plan!r} is unknown; use one of {', '.join(PLANS)}, or a sequence of attacks")
        rungs = PLANS[plan](getattr(threat, "name", ""))
    else:
        rungs = tuple(rung if isinstance(rung, Rung) else Rung(repr(rung), rung) for rung in plan)
    names = [rung.name for rung in rungs]
    if not rungs or len(set(names)) < len(names):
        raise InputError(f"plan has rungs {names}; give at least one, each with a name of its own")
    for rung in rungs:
        rung.attack.check(threat)
    return rungs

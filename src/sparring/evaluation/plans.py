"""Plans: which attacks, in which order. Rungs are data; a plan is a function of the threat's norm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sparring.attacks.apgd import APGD
from sparring.attacks.attack import Attack
from sparring.attacks.fgsm import FGSM
from sparring.attacks.pgd import PGD
from sparring.errors import InputError
from sparring.problem import Threat


@dataclass(frozen=True)
class Rung:
    """One attack of a ladder. Its name is the path of its random numbers."""

    name: str
    attack: Attack


def quick(norm: str) -> tuple[Rung, ...]:
    """FGSM, PGD-40, APGD on cross-entropy, APGD on DLR towards the three runner-up classes.

    Auto-PGD has no form for L0; there PGD climbs the margin towards the runner-up classes instead.
    """
    first = (Rung("FGSM", FGSM()), Rung("PGD-40", PGD()))
    if norm == "l0":
        return (*first, Rung("PGD-40-margin-T", PGD(objective="margin", n_targets=3)))
    return (*first, Rung("APGD-CE", APGD()), Rung("APGD-DLR-T", APGD(objective="dlr", n_targets=3)))


PLANS: dict[str, Callable[[str], tuple[Rung, ...]]] = {"quick": quick}


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

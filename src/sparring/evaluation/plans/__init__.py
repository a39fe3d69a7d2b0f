"""Plans: which attacks, in which order. Rungs are data; a plan is a function of the threat's norm, one file an idea."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sparring.attacks.attack import Attack
from sparring.errors import InputError
from sparring.evaluation.plans import a3, autoattack, cr, quick, standard
from sparring.evaluation.rung import Rung
from sparring.problem import Threat
from sparring.provenance import label

PLANS: dict[str, Callable[[str], tuple[Rung, ...]]] = {
    "quick": quick.rungs,
    "standard": standard.rungs,
    "thorough": standard.thorough,
    "a3": a3.rungs,
    "cr": cr.rungs,
    "autoattack": autoattack.standard,
    "autoattack-plus": autoattack.plus,
    "autoattack-rand": autoattack.rand,
}


def _rung(one: object, place: int) -> Rung:
    if isinstance(one, Rung):
        return one
    if not isinstance(one, Attack):
        hint = f"{one.__name__}()" if isinstance(one, type) else "sp.PGD(steps=40)"
        raise InputError(f"plan[{place}] is {one!r}: give an attack, such as {hint}, or a Rung")
    return Rung(label(one), one)


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
        if not isinstance(plan, Iterable):
            raise InputError(f"plan is {plan!r}; give the name of one, such as 'standard', or a sequence of attacks")
        rungs = tuple(_rung(one, place) for place, one in enumerate(plan))
    names = [rung.name for rung in rungs]
    if not rungs or len(set(names)) < len(names):
        raise InputError(f"plan has rungs {names}; give at least one, each with a name of its own")
    for rung in rungs:
        rung.attack.check(threat)
    return rungs

"""`standard`: the strongest number at the least cost."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

from sparring.attacks.constraint_relaxation import ConstraintRelaxation
from sparring.attacks.cosine_pgd import CosinePGD
from sparring.attacks.square import Square
from sparring.evaluation.rung import Rung

_POLISH = CosinePGD(steps=40, scatter=0, random_start=False, high=0.5)
_AGAIN = CosinePGD(steps=40, scatter=0, random_start=False, high=1.0)
_RELAXED = ConstraintRelaxation(n_targets=1, restarts=1)
_HAIR = 0.015  # who missed by this is tried to the end
_ZEROS = 1  # rungs of an objective that met zero gradients only, after which it is followed no more
_SEARCH = Square(queries=200, random_start=False)
_FINE = Square(queries=800, p=0.1, random_start=False)


def rungs(norm: str) -> tuple[Rung, ...]:
    """Short rounds for every example, more for those that come close, another kind of search where gradients lie.

    A round is PGD from scattered outputs with cosine steps (the shape of A³, Ye et al. 2022): one that climbs away from
    the label, one towards the class that the gradients put within reach, one towards the class that came closest. A row
    goes on only while what its closest look missed by is small, and not large against what two equal rounds differed
    by: where they agree, one more would too. What is left is near and its landscape rough: there gradient steps and
    random search take turns, each from the closest point that the other found, which finds more than many new starts.

    A first look at the network (`auditing.understanding`) says whether it is random, and what to follow where its own
    gradient leads nowhere: then rounds are led by that, too, and so is all that comes after them. It also says how
    rough the landscape is: where climbs from one example end apart, many more starts and much more random search are
    for all that comes near, and elsewhere nobody pays for them.

    Rows along whose gradient the margin does not rise as it says get the black box, and so do those that a few random
    queries bring closer than all gradients did.

    The limits were found on one MNIST network (TRADES), 5,000 images, three small CIFAR-10 networks and four small
    networks of our own on the digits, 400 images each.
    """
    rounds = (
        Rung("round", CosinePGD()),
        Rung("round, within reach", CosinePGD(n_targets=1, order="reach", objective="margin"), again=True),
        Rung("round, closest class", CosinePGD(n_targets=1), within=0.5, ranked="closest"),
        Rung("round, margin", CosinePGD(objective="margin"), within=0.25, again=True),
        Rung("round, CE", CosinePGD(objective="cross_entropy", high=1.0), within=0.25),
    )
    led = (
        Rung("led round", CosinePGD(), seen="understood"),
        Rung(
            "led round, closest class", CosinePGD(n_targets=1, objective="margin"), ranked="closest", seen="understood"
        ),
        Rung("led round, CE", CosinePGD(objective="cross_entropy", high=1.0), within=1.0, seen="understood"),
    )
    doubts = (
        Rung("probe", Square(queries=10)),
        Rung("black box", Square(queries=1000), doubted=True),
        Rung("black box, probed", Square(queries=1000), gained=("probe",)),
        Rung("black box, long", Square(), gained=("black box", "black box, probed")),
    )
    close: dict[str, Any] = {"unsettled": 4.0, "anyway": _HAIR, "ranked": "closest", "seen": "best"}
    long = (
        Rung("long, CE", CosinePGD(steps=40, objective="cross_entropy", high=1.0), within=0.2, **close),
        Rung("long, 2 classes", CosinePGD(steps=40, n_targets=2, high=1.0), within=0.2, **close),
        Rung("relaxed", _RELAXED, within=0.03, seen="best"),
    )
    ladder = (*rounds, *led, *doubts, *long, *turns(), *roughs())
    return tuple(replace(rung, max_zero_gradients=_ZEROS) for rung in ladder if norm in rung.attack.norms)


def thorough(norm: str) -> tuple[Rung, ...]:
    """`standard`, and twice more with new random numbers for all that missed by less than 0.3, settled or not."""
    once = rungs(norm)

    def again(rung: Rung, time: str) -> Rung:
        gained = tuple(f"{name}, {time}" for name in rung.gained)
        return replace(rung, name=f"{rung.name}, {time}", within=min(rung.within, 0.3), unsettled=inf, gained=gained)

    searching = [rung for rung in once if rung.attack.gradients or rung.start == "closest"]
    return (*once, *(again(rung, time) for time in ("2nd time", "3rd time") for rung in searching))


def turns() -> tuple[Rung, ...]:
    """Gradient steps and random search in turn, each from the closest point so far."""
    found = [
        Rung("polish", _POLISH, within=0.15),
        Rung("search", _SEARCH, within=0.08),
        Rung("polish, margin", replace(_AGAIN, objective="margin"), within=0.1),
        Rung("polish, 2 classes", replace(_AGAIN, objective="margin", n_targets=2), within=0.02, ranked="closest"),
    ]
    return tuple(replace(rung, unsettled=2.0, anyway=_HAIR, start="closest", seen="best") for rung in found)


def roughs() -> tuple[Rung, ...]:
    """Where gradients from one start miss what those from another find: short rounds from many starts, and random
    search from the closest point, which goes on for whom it brings closer."""
    found = [
        Rung("short rounds", CosinePGD(steps=10, restarts=5), rough=5.0),
        Rung("wide search", _SEARCH, rough=5.0, start="closest"),
        Rung("wide polish", _AGAIN, rough=3.0, start="closest"),
        Rung("fine search", _FINE, rough=2.0, start="closest"),
    ]
    for name, queries in {"fine search, again": 1600, "fine search, long": 3200}.items():
        told = (found[-1].name,)
        found.append(Rung(name, replace(_FINE, queries=queries), rough=2.0, start="closest", gained=told))
    return tuple(replace(rung, seen="best") for rung in found)

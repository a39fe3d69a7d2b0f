"""`quick`: four attacks that everybody knows, for a first look."""

from __future__ import annotations

from sparring.attacks.apgd import APGD
from sparring.attacks.fgsm import FGSM
from sparring.attacks.pgd import PGD
from sparring.evaluation.rung import Rung


def rungs(norm: str) -> tuple[Rung, ...]:
    """FGSM, PGD-40, APGD on cross-entropy, APGD on DLR towards the three runner-up classes.

    Auto-PGD has no form for L0; there PGD climbs the margin towards the runner-up classes instead.
    """
    first = (Rung("FGSM", FGSM()), Rung("PGD-40", PGD()))
    if norm == "l0":
        return (*first, Rung("PGD-40-margin-T", PGD(objective="margin", n_targets=3)))
    return (*first, Rung("APGD-CE", APGD()), Rung("APGD-DLR-T", APGD(objective="dlr", n_targets=3)))

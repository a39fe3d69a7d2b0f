"""What is climbed: (N, K) logits and a goal -> (N,), larger is worse for the model. No reductions."""

from __future__ import annotations

from sparring.errors import InputError, closest
from sparring.objectives.cross_entropy import cross_entropy
from sparring.objectives.divergence import divergence, kl
from sparring.objectives.dlr import dlr
from sparring.objectives.margin import margin, margins, probability_margin
from sparring.problem import Objective

OBJECTIVES: dict[str, Objective] = {
    "cross_entropy": cross_entropy,
    "margin": margin,
    "probability_margin": probability_margin,
    "dlr": dlr,
    "kl": kl,
}

__all__ = ["OBJECTIVES", "cross_entropy", "divergence", "dlr", "get", "kl", "margin", "margins", "probability_margin"]


def get(objective: str | Objective) -> Objective:
    """The objective of that name, or the function itself.

    Raises:
        InputError: no objective has that name.
    """
    if not isinstance(objective, str):
        return objective
    if objective not in OBJECTIVES:
        hint = closest(objective, OBJECTIVES)
        raise InputError(f"objective {objective!r} is unknown.{hint} Use one of {', '.join(OBJECTIVES)}, or a function")
    return OBJECTIVES[objective]

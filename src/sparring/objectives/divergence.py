"""The divergence from given logits, climbed by TRADES (Zhang et al. 2019, section 4) and its kin."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from sparring.errors import InputError
from sparring.problem import Goal


def kl(logits: Tensor, goal: Goal) -> Tensor:
    """KL(p(reference) || p(logits)); outside of training the reference is what the model says of the clean input.

    Raises InputError when the goal carries no reference, or has a class to climb towards.
    """
    if goal.targeted or goal.aim is not None:
        raise InputError("kl climbs away from what the model said, not towards a class; use cross_entropy or margin")
    if goal.reference is None:
        raise InputError("kl climbs away from reference logits, and there are none; attack with seek left out")
    return divergence(goal.reference, logits)


def divergence(reference: Tensor, logits: Tensor) -> Tensor:
    """(N,) KL(softmax(reference) || softmax(logits)) of logits (N, K), summed over classes."""
    given, said = reference.log_softmax(1), logits.log_softmax(1)
    return functional.kl_div(said, given, reduction="none", log_target=True).sum(1)

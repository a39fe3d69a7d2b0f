"""The difference of logits ratio (Croce & Hein 2020, section 4.2 and appendix), for any number of classes."""

from __future__ import annotations

from torch import Tensor

from sparring.objectives.margin import margin
from sparring.problem import Goal


def dlr(logits: Tensor, goal: Goal) -> Tensor:
    """The margin over z(1) - z(3), or over z(1) - (z(3) + z(4)) / 2 towards a class; free of shift and scale.

    With three classes z(3) stands for z(4) too. With two classes nothing but the margin itself could scale it,
    which would be constant, so the plain margin is returned.
    """
    classes = logits.shape[1]
    if classes == 2:
        return margin(logits, goal)
    top = logits.topk(min(4, classes), dim=1).values
    third = top[:, 2]
    if goal.targeted or goal.aim is not None:
        third = (third + top[:, -1]) / 2
    return margin(logits, goal) / (top[:, 0] - third + 1e-12)

"""The margin by which the model errs (Carlini & Wagner 2017, section V), of logits or of probabilities."""

from __future__ import annotations

from torch import Tensor

from sparring.problem import Goal


def margin(logits: Tensor, goal: Goal) -> Tensor:
    """The logit that must win minus the one that must lose; above 0 the goal is reached."""
    toward, away = goal.contest(logits)
    return toward - away


def probability_margin(logits: Tensor, goal: Goal) -> Tensor:
    """The same of softmax probabilities, in [-1, 1]: free of the logits' scale where they are not saturated."""
    return margin(logits.softmax(1), goal)

"""The margin by which the model errs (Carlini & Wagner 2017, section V), of logits or of probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.problem import Goal


def margin(logits: Tensor, goal: Goal) -> Tensor:
    """The logit that must win minus the one that must lose; above 0 the goal is reached."""
    toward, away = goal.contest(logits)
    return toward - away


def margins(logits: Tensor, goal: Goal) -> Tensor:
    """(N, M) the margin towards each of the M = K - 1 wrong classes; M = 1 where a class is wanted or aimed at."""
    if goal.targeted or goal.aim is not None:
        return margin(logits, goal)[:, None]
    label = goal.label[:, None]
    wrong = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
    return logits.gather(1, wrong + (wrong >= label).long()) - logits.gather(1, label)


def probability_margin(logits: Tensor, goal: Goal) -> Tensor:
    """The same of softmax probabilities, in [-1, 1]: free of the logits' scale where they are not saturated."""
    return margin(logits.softmax(1), goal)

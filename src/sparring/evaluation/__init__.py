"""The robust accuracy of a model: a ladder of attacks, each given only the rows still standing."""

from __future__ import annotations

from sparring.evaluation.measure import Progress, evaluate
from sparring.evaluation.merging import merge
from sparring.evaluation.plans import PLANS
from sparring.evaluation.result import Result
from sparring.evaluation.rung import Rung

__all__ = ["PLANS", "Progress", "Result", "Rung", "evaluate", "merge"]

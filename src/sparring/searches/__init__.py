"""What is tried again: restarts, target classes, bisection. Each attempt gets only the rows that still stand."""

from __future__ import annotations

from sparring.searches.bisection import Bracket
from sparring.searches.restarts import Attempt, first_success, restarts
from sparring.searches.settled import settled
from sparring.searches.targets import Order, targets

__all__ = ["Attempt", "Bracket", "Order", "first_success", "restarts", "settled", "targets"]

"""May the number be believed? Checks for gradient masking, and the attack that sees through it."""

from __future__ import annotations

from sparring.auditing.finding import Audit, Finding
from sparring.auditing.measure import audit

__all__ = ["Audit", "Finding", "audit"]

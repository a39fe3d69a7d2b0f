"""FAB, fast adaptive boundary (Croce & Hein 2020): projections onto the linearised boundary; L∞, L2 and L1."""

from __future__ import annotations

from sparring.attacks.fab.attack import FAB

__all__ = ["FAB"]

"""HopSkipJump (Chen, Jordan & Wainwright 2020): along the decision boundary, told only which class is said; L2, L∞."""

from __future__ import annotations

from sparring.attacks.hop_skip_jump.attack import HopSkipJump

__all__ = ["HopSkipJump"]

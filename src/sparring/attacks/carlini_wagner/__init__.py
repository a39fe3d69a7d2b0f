"""Carlini & Wagner, "Towards evaluating the robustness of neural networks", 2017: the L2, L0 and L∞ attacks.

All three minimise (size of the change) + c · (what the margin still lacks) by Adam in tanh space, where every
point is inside the input range; they differ in the size, and in the loop around it. One file a form.
"""

from __future__ import annotations

from sparring.attacks.carlini_wagner.attack import CarliniWagner

__all__ = ["CarliniWagner"]

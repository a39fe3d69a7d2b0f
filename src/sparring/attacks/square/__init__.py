"""Square attack (Andriushchenko et al. 2020): random search over windows, from scores alone; L∞, L2 and L1."""

from __future__ import annotations

from sparring.attacks.square.attack import Square

__all__ = ["Square"]

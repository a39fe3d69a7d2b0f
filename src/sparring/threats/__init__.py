"""What may move: a threat draws a region around every example. One norm a file."""

from __future__ import annotations

from sparring.errors import InputError, closest
from sparring.threats.ball import Ball, Norm
from sparring.threats.l0 import L0
from sparring.threats.l1 import L1
from sparring.threats.l2 import L2
from sparring.threats.linf import Linf

THREATS: dict[str, type[Norm]] = {"linf": Linf, "l2": L2, "l1": L1, "l0": L0}

__all__ = ["L0", "L1", "L2", "THREATS", "Ball", "Linf", "Norm", "parse"]


def parse(text: str) -> Norm:
    """A threat written as on the command line: "linf:8/255", "l2:0.5", "l0:10", or "l2" for the nearest.

    Raises:
        InputError: an unknown norm, or a radius that is not a number or a fraction.
    """
    if not isinstance(text, str):
        raise InputError(f"threat is {text!r}; write one such as 'linf:8/255', or pass sp.Linf(8/255)")
    name, colon, radius = text.partition(":")
    norm = THREATS.get(name.strip().lower())
    if norm is None:
        hint = closest(name.strip(), THREATS)
        raise InputError(f"threat {text!r} is unknown.{hint} Use one of {', '.join(THREATS)}, such as linf:8/255")
    if not colon:
        return norm()
    try:
        over, slash, under = radius.partition("/")
        return norm(float(over) / float(under if slash else 1))
    except (ValueError, ZeroDivisionError):
        raise InputError(f"threat {text!r} has radius {radius!r}; give a number or a fraction like 8/255") from None

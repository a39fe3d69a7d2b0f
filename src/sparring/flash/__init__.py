"""Flashing images that can harm people: find them in a video, show them, take them out.

`analyse` says whether a clip meets one or several standards, `mitigate` writes one that does, `Analyser` takes
pictures one by one from a live source. Meeting a standard is not a proof that nobody is harmed, and this is no
medical device.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sparring.flash.standards import Standard as Standard

if TYPE_CHECKING:
    from sparring.flash.analysis.analyser import Analyser as Analyser
    from sparring.flash.analysis.clip import analyse as analyse
    from sparring.flash.mitigation.clip import Mitigation as Mitigation
    from sparring.flash.mitigation.clip import mitigate as mitigate
    from sparring.flash.mitigation.limiter import Limiter as Limiter
    from sparring.flash.reading.colour import Colour as Colour

_HOMES = {
    "Analyser": "sparring.flash.analysis.analyser",
    "Colour": "sparring.flash.reading.colour",
    "Limiter": "sparring.flash.mitigation.limiter",
    "Mitigation": "sparring.flash.mitigation.clip",
    "analyse": "sparring.flash.analysis.clip",
    "mitigate": "sparring.flash.mitigation.clip",
}

__all__ = ["Standard", "available", *_HOMES]


def available() -> dict[str, Standard]:
    """Every standard by its name."""
    from sparring.flash.profiles import STANDARDS

    return dict(STANDARDS)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sparring.flash' has no attribute {name!r}")

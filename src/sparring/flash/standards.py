"""The standards for flashing images as data: every number with the clause it comes from.

A standard is a tuple of rules. Where a text can be read in two ways the reading is a field, and its default is the
one under which the clips labelled by the TRACE centre come out right. Luminance is relative: 1.0 is reference white,
which in SDR is code 255 and stands for 200 cd/m² (ITU-R BT.1702-3, note 3), so that 20 cd/m² is 0.1 and 160 is 0.8.

Clauses take no part in comparisons: definitions that differ in words only are one, and share their work.

Sources: WCAG 2.2 SC 2.3.1 with its definition "general flash and red flash thresholds" (w3c/wcag, 2026-08);
ITU-R BT.1702-3 (11/2023); Ofcom Guidance Note, Section 2, Annex 1; ISO 9241-391:2016 (by secondary sources: its text
is sold); NAB-J and NHK guideline (1998, rev. 2020); TRACE24, Jordan and Vanderheiden, ACM TACCESS 2024.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from sparring.errors import InputError, closest


@dataclass(frozen=True)
class Screen:
    """A share of the whole picture, bars included."""

    share: float = 0.25
    at_least: bool = False  # True: exactly the share is already too much
    clause: str = field(default="", compare=False)


@dataclass(frozen=True)
class Window:
    """A share of any rectangle of this size in CSS pixels, the picture shown as large as `display` allows.

    `of_frame` reads the size as a share of the frame instead (341 × 256 of 1024 × 768 is a third by a third), which
    PEAT does; the labelled clips hold under CSS pixels at 1920 × 1080.
    """

    width: float
    height: float
    share: float = 0.25
    at_least: bool = False
    display: tuple[int, int] = (1920, 1080)
    of_frame: tuple[float, float] | None = None
    clause: str = field(default="", compare=False)


Area: TypeAlias = Screen | Window


@dataclass(frozen=True)
class Luminance:
    """What a change of luminance must be to count as a transition."""

    delta: float = 0.1  # of reference white
    strict: bool = False  # True: exactly delta is still allowed
    dark_below: float = 0.8  # the darker of the two states
    michelson: Literal["never", "hdr", "always"] = "never"  # 1/17 where the darker state is brighter than that
    clause: str = field(default="", compare=False)


@dataclass(frozen=True)
class Red:
    """What a change of colour must be to count as a red transition: into or out of a saturated red."""

    ratio: float = 0.8  # R / (R + G + B), linear light
    distance: float = 0.2  # in CIE 1976 u'v'
    strict: bool = True  # True: exactly the distance is still allowed
    floor: float = 0.004  # linear light up to which a state is black: there, 8-bit codes say nothing about colour
    clause: str = field(default="", compare=False)


@dataclass(frozen=True)
class Flash:
    """Too many transitions within a second, over too large an area, for too long."""

    name: str
    change: Luminance | Red
    area: Area
    clause: str
    transitions: int = 6  # this many are allowed
    window: float = 1.0  # seconds, half-open: seven that span exactly a second pass
    lasting: float = 0.0  # seconds a sequence may last before it counts
    advisory: bool = False  # told, but no violation
    # Flashes whose leading edges are this far apart are acceptable: seconds in a (50 Hz, 60 Hz) environment.
    gap: tuple[float, float] | None = None


@dataclass(frozen=True)
class Pattern:
    """Too many light-dark pairs of stripes over too large an area."""

    name: str = "pattern"
    pairs: int = 5  # this many are allowed
    stationary: float = 0.40  # share of the screen for a pattern at rest
    changing: float = 0.25  # for one that reverses, oscillates, flashes or changes direction
    light: float = 0.25  # luminance of the lightest stripe (50 of 200 cd/m²)
    seconds: float = 0.5
    advisory: bool = False
    clause: str = ""


Rule: TypeAlias = Flash | Pattern


@dataclass(frozen=True)
class Standard:
    """A named set of rules, and how its text is read."""

    name: str
    title: str
    rules: tuple[Rule, ...]
    ramp: float | None = 0.066  # seconds within which a transition must be complete; None: any ramp counts
    sync: float = 0.020  # seconds within which changes at two places are one flash
    sdr: Literal["srgb", "bt1886"] = "srgb"  # how SDR code values become light

    @property
    def flashes(self) -> tuple[Flash, ...]:
        return tuple(rule for rule in self.rules if isinstance(rule, Flash))

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        return tuple(rule for rule in self.rules if isinstance(rule, Pattern))


def named(standard: str | Standard | Iterable[str | Standard]) -> tuple[Standard, ...]:
    """The standards meant by a name, a value, or several of them. Raises InputError on an unknown name or none."""
    from sparring.flash.profiles import STANDARDS  # which is built of the values above

    several = (standard,) if isinstance(standard, str | Standard) else tuple(standard)
    found = []
    for one in several:
        if isinstance(one, str) and one not in STANDARDS:
            raise InputError(
                f"standard={one!r} is not known; choose from {', '.join(sorted(STANDARDS))}.{closest(one, STANDARDS)}"
            )
        found.append(STANDARDS[one] if isinstance(one, str) else one)
    if not found:
        raise InputError("standard=() names none; give at least one, such as 'wcag2.2'")
    return tuple(dict.fromkeys(found))

"""The six standards, by name. A new one is one value here."""

from __future__ import annotations

from math import inf

from sparring.flash.standards import Flash, Luminance, Pattern, Red, Screen, Standard, Window

_TENTH = Luminance(
    michelson="hdr",
    clause="20 cd/m² of 200 or more, the darker state below 160 cd/m²; above that 1/17 Michelson, in HDR only",
)
_SATURATED = Red(clause="to or from R/(R+G+B) ≥ 0.8, linear, with a change of more than 0.2 in CIE 1976 u'v'")
_QUARTER = Screen(0.25, clause="more than 25 % of the displayed screen area")


_GAP = (0.360, 0.334)  # "360 ms or more are acceptable in a 50 Hz environment or 334 ms or more in a 60 Hz environment"


def _broadcast(
    document: str, rate: str, red: str, extended: str, pattern: Pattern, gap: tuple[float, float] | None = None
) -> tuple[Flash | Pattern, ...]:
    """What the broadcast texts have in common: a quarter of the screen, three flashes a second."""
    return (
        Flash("general flash", _TENTH, _QUARTER, f"{document}, {rate}", gap=gap),
        Flash("red flash", _SATURATED, _QUARTER, f"{document}, {red}", gap=gap),
        Flash(
            "extended flash",
            _TENTH,
            _QUARTER,
            f"{document}, {extended}",
            transitions=3,
            lasting=5.0,
            advisory=True,  # the texts speak of a risk that might be, not of a limit
        ),
        pattern,
    )


_WCAG_WINDOW = Window(341, 256, clause="21,824 CSS pixels: 25 % of any 341 × 256 rectangle (technique G176)")
_TRACE_WINDOW = Window(416, 416, at_least=True, clause="25 % of any 416 × 416 CSS pixels")
_NAB_AREA = Screen(0.25, clause="more than a quarter of the screen at once")
# The guideline names no luminance from which on changes do not matter.
_NAB_TENTH = Luminance(0.1, dark_below=inf, clause="change of luminance of 10 % or more")

STANDARDS = {
    standard.name: standard
    for standard in (
        Standard(
            "wcag2.2",
            "WCAG 2.2, success criterion 2.3.1 (A)",
            (
                Flash(
                    "general flash",
                    Luminance(michelson="hdr", clause="relative luminance changes by 10 % or more, darker below 0.80"),
                    _WCAG_WINDOW,
                    "WCAG 2.2 SC 2.3.1, general flash: more than three within any one second",
                ),
                Flash(
                    "red flash",
                    _SATURATED,
                    _WCAG_WINDOW,
                    "WCAG 2.2 SC 2.3.1, red flash: more than three within any one second",
                ),
            ),
        ),
        Standard(
            "itu-r-bt.1702",
            "ITU-R BT.1702-3 (11/2023)",
            _broadcast(
                "ITU-R BT.1702-3",
                "Annex 1, guideline 1: more than three flashes (six changes in luminance) within any one second",
                "Annex 1, guideline 1: a transition to or from a saturated red",
                "Annex 1: a sequence lasting more than five seconds might constitute a risk",
                # Attachment 1 is used by some administrations only.
                Pattern(advisory=True, clause="ITU-R BT.1702-3, guideline 2 and attachment 1: regular patterns"),
                _GAP,
            ),
        ),
        Standard(
            "ofcom",
            "Ofcom Guidance Note, Section 2, Annex 1",
            _broadcast(
                "Ofcom Section 2, Annex 1",
                "flashing images: more than three flashes within any one second",
                "flashing images: a transition to or from a saturated red",
                "a sequence lasting more than five seconds",
                Pattern(clause="Ofcom Section 2, Annex 1: prominent and regular patterns"),
                _GAP,
            ),
        ),
        Standard(
            "iso9241-391",
            "ISO 9241-391:2016 (by secondary sources)",
            _broadcast(
                "ISO 9241-391:2016",
                "flashes: more than three within any one second",
                "saturated red flashes: more than three within any one second",
                "a sequence lasting more than five seconds",
                Pattern(clause="ISO 9241-391:2016: regular patterns"),
            ),
        ),
        Standard(
            "nab-j",
            "NAB-J and NHK guideline on animation techniques (1998, revised 2020)",
            (
                Flash(
                    "general flash",
                    Luminance(0.2, strict=True, dark_below=inf, clause="change of luminance of more than 20 %"),
                    _NAB_AREA,
                    "NAB-J 1 (3), 2: changes of more than 20 % at most three times a second",
                ),
                Flash(
                    "rapid flash",
                    _NAB_TENTH,
                    _NAB_AREA,
                    "NAB-J 1 (3): at most five a second, however small the change",
                    transitions=10,
                ),
                Flash(
                    "lasting flash",
                    _NAB_TENTH,
                    _NAB_AREA,
                    "NAB-J 1 (3): more than three a second not longer than two seconds",
                    lasting=2.0,
                ),
                Flash("red flash", _SATURATED, _NAB_AREA, "NAB-J 1 (1): vivid red at most three times a second"),
                Pattern(
                    stationary=0.5,
                    changing=0.5,
                    clause="NAB-J 3: regular patterns must not fill most of the screen (read as half)",
                ),
            ),
        ),
        Standard(
            "trace24",
            "TRACE24, Jordan and Vanderheiden, ACM TACCESS 2024",
            (
                Flash(
                    "general flash",
                    Luminance(michelson="always", clause="10 % of reference white, or 1/17 Michelson from 80 % up"),
                    _TRACE_WINDOW,
                    "TRACE24: more than six luminance transitions within one second",
                ),
                Flash(
                    "red flash",
                    Red(strict=False, clause="from a linear R/(R+G+B) ≥ 0.8 by 0.2 or more in CIE 1976 u'v'"),
                    _TRACE_WINDOW,
                    "TRACE24: more than six red transitions within one second",
                ),
            ),
        ),
    )
}

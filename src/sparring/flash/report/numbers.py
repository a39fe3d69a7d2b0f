"""A standard read out: every number and reading of it in words, with the clause it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import inf
from typing import Any

from sparring.flash.report.wording import share
from sparring.flash.standards import Flash, Luminance, Pattern, Red, Screen, Standard, Window


@dataclass(frozen=True)
class Number:
    """One line: what it is about, its value in words, and the clause, "" where the text is silent and we chose."""

    of: str  # "general flash", or "" for what holds for all rules
    what: str
    value: str
    clause: str = ""


def numbers(standard: Standard) -> list[Number]:
    """Every field of a standard, its rules and what they are made of."""
    found = [Number("", what, value) for what, value in _read(standard)]
    for rule in standard.rules:
        lines = [Number(rule.name, what, value) for what, value in _read(rule)]
        found += [Number(rule.name, "rule", "advisory" if rule.advisory else "decides", rule.clause), *lines]
        if isinstance(rule, Flash):
            for part in (rule.change, rule.area):
                (what, value), *rest = _read(part)
                found.append(Number(rule.name, what, value, part.clause))
                found += [Number(rule.name, what, value) for what, value in rest]
    return found


def _read(part: object) -> Iterator[tuple[str, str]]:
    """What a value's own fields are called, and what they say."""
    for field in fields(part):  # type: ignore[arg-type]  # always one of the dataclasses of the standards
        if (type(part), field.name) in _PHRASES:
            what, wording = _PHRASES[type(part), field.name]
            yield what, wording(part, getattr(part, field.name))


def _beyond(part: Any, value: float) -> str:
    return f"{share(value)} or more" if part.at_least else f"more than {share(value)}"


def _seconds(_: Any, value: float) -> str:
    return f"{1000 * value:g} ms" if 0 < value < 1 else f"{value:g} s"


_MICHELSON = {"never": "no transition", "hdr": "in HDR, from 1/17 Michelson on", "always": "from 1/17 Michelson on"}
_LIGHT = {"srgb": "sRGB curve", "bt1886": "BT.1886 curve"}

# (type, field) -> what it is called, and how its value is said; clauses, names and parts are told by `numbers`.
_PHRASES: dict[tuple[type, str], tuple[str, Any]] = {
    (Standard, "ramp"): ("a transition is complete within", lambda p, v: "any time" if v is None else _seconds(p, v)),
    (Standard, "sync"): ("changes are one flash within", _seconds),
    (Standard, "sdr"): ("SDR code values are read by the", lambda p, v: _LIGHT[v]),
    (Flash, "transitions"): ("transitions allowed", lambda p, v: str(v)),
    (Flash, "window"): ("within", _seconds),
    (Flash, "lasting"): ("for longer than", _seconds),
    (Flash, "gap"): (
        "flashes are isolated from",
        lambda p, v: (
            "not in this standard" if v is None else f"{_seconds(p, v[0])} (50 Hz), {_seconds(p, v[1])} (60 Hz)"
        ),
    ),
    (Pattern, "pairs"): ("pairs of stripes allowed", lambda p, v: str(v)),
    (Pattern, "stationary"): ("share of the screen, at rest", lambda p, v: f"more than {share(v)}"),
    (Pattern, "changing"): ("share of the screen, changing", lambda p, v: f"more than {share(v)}"),
    (Pattern, "light"): ("luminance of the lightest stripe", lambda p, v: f"{v:g} of white or more"),
    (Pattern, "seconds"): ("on show for", lambda p, v: f"{_seconds(p, v)} or more"),
    (Luminance, "delta"): (
        "luminance changes by",
        lambda p, v: f"more than {v:g} of white" if p.strict else f"{v:g} of white or more",
    ),
    (Luminance, "dark_below"): ("the darker state is below", lambda p, v: "any" if v == inf else f"{v:g} of white"),
    (Luminance, "michelson"): ("a darker state above that", lambda p, v: _MICHELSON[v]),
    (Red, "ratio"): ("saturated red from R / (R + G + B)", lambda p, v: f"{v:g}, linear light"),
    (Red, "distance"): ("change in CIE 1976 u'v'", lambda p, v: f"more than {v:g}" if p.strict else f"{v:g} or more"),
    (Red, "floor"): ("no colour up to a linear light of", lambda p, v: f"{v:g}"),
    (Screen, "share"): ("share of the screen", _beyond),
    (Window, "share"): ("share of any window", _beyond),
    (Window, "width"): ("width of the window", lambda p, v: f"{v:g} CSS pixels" if p.of_frame is None else "see below"),
    (Window, "height"): (
        "height of the window",
        lambda p, v: f"{v:g} CSS pixels" if p.of_frame is None else "see below",
    ),
    (Window, "display"): ("shown as large as fits", lambda p, v: f"{v[0]} × {v[1]} CSS pixels"),
    (Window, "of_frame"): (
        "window as a share of the frame",
        lambda p, v: "no" if v is None else f"{v[0]:.4g} × {v[1]:.4g}",
    ),
}

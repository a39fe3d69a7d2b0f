"""sparring list: what there is, with parameters and defaults."""

from __future__ import annotations

import json as jsons
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer

from sparring.cli.exits import guarded
from sparring.cli.terminal import Terminal
from sparring.cli.wording import closest, settable
from sparring.errors import InputError

Entries = dict[str, dict[str, Any]]


@guarded
def listing(
    what: Annotated[str | None, typer.Argument(help="attacks, threats, objectives, plans, defenses or models.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON on stdout.")] = False,
) -> int:
    """List attacks, threats, objectives, plans, defenses and models."""
    if what is not None and what not in SECTIONS:
        raise InputError(f"there is no list of {what!r}.{closest(what, SECTIONS)} There are: {', '.join(SECTIONS)}")
    found = {name: make() for name, make in SECTIONS.items() if what in (None, name)}
    if json:
        print(jsons.dumps(found if what is None else found[what], indent=2))
        return 0
    terminal = Terminal()
    for section, entries in found.items():
        terminal.say(section, style="bold")
        for name, entry in entries.items():
            terminal.say(f"  {name:<20} {entry['summary']}")
            for line in _details(entry):
                terminal.say(f"  {'':<20} {line}", style="dim")
    return 0


def _details(entry: dict[str, Any]) -> Iterable[str]:
    if entry.get("parameters"):
        yield "  ".join(f"{key}={value}" for key, value in entry["parameters"].items())
    if entry.get("norms"):
        yield f"for {', '.join(entry['norms'])}"
    yield from entry.get("rungs", ())


def _summary(thing: Any) -> str:
    return str(thing.__doc__ or "").strip().splitlines()[0].strip()


def _parameters(kind: type[Any]) -> dict[str, str]:
    """Names and defaults, as --set takes them."""
    made = kind()
    values = {name: getattr(made, name) for name in settable(kind)}
    return {name: str(value).lower() if value is None else str(value) for name, value in values.items()}


def _attacks() -> Entries:
    from sparring.attacks import available

    return {
        name: {"summary": _summary(kind), "parameters": _parameters(kind), "norms": sorted(kind.norms)}
        for name, kind in available().items()
    }


def _threats() -> Entries:
    from sparring.threats import THREATS

    return {name: {"summary": _summary(kind)} for name, kind in THREATS.items()}


def _objectives() -> Entries:
    from sparring.objectives import OBJECTIVES

    return {name: {"summary": _summary(function)} for name, function in OBJECTIVES.items()}


def _plans() -> Entries:
    from sparring.evaluation import PLANS

    return {
        name: {
            "summary": _summary(plan),
            "rungs": [f"{rung.name}: {rung.attack!r}" for rung in plan("linf")],
        }
        for name, plan in PLANS.items()
    }


def _defenses() -> Entries:
    from sparring.defenses import available

    return {name: {"summary": _summary(kind), "parameters": _parameters(kind)} for name, kind in available().items()}


def _models() -> Entries:
    from sparring.zoo import AVAILABLE

    return {f"zoo:{name}": {"summary": _summary(make)} for name, make in AVAILABLE.items()}


SECTIONS: dict[str, Callable[[], Entries]] = {
    "attacks": _attacks,
    "threats": _threats,
    "objectives": _objectives,
    "plans": _plans,
    "defenses": _defenses,
    "models": _models,
}

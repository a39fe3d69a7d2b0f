"""sparring list: what there is, with parameters and defaults."""

from __future__ import annotations

import json as jsons
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from typing import Annotated, Any

import typer

from sparring.cli.exits import guarded
from sparring.cli.terminal import Terminal
from sparring.named import chosen, settable

Entries = dict[str, dict[str, Any]]


@guarded
def listing(
    what: Annotated[
        str | None, typer.Argument(help="attacks, threats, objectives, plans, defenses, transforms, models or recipes.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON on stdout.")] = False,
) -> int:
    """List attacks, threats, objectives, plans, defenses, transforms, models and recipes."""
    if what is not None:
        chosen(SECTIONS, what, "list")
    found = {name: make() for name, make in SECTIONS.items() if what in (None, name)}
    if json:
        print(jsons.dumps(found if what is None else found[what], indent=2))
        return 0
    terminal = Terminal()
    for section, entries in found.items():
        terminal.say(section, style="bold")
        width = max(20, *map(len, entries))
        for name, entry in entries.items():
            terminal.say(f"  {name:<{width}} {entry['summary']}")
            for line in _details(entry):
                terminal.say(f"  {'':<{width}} {line}", style="dim")
    return 0


def _details(entry: dict[str, Any]) -> Iterable[str]:
    if entry.get("parameters"):
        yield "  ".join(f"{key}={value}" for key, value in entry["parameters"].items())
    if entry.get("norms"):
        yield f"for {', '.join(entry['norms'])}"
    if entry.get("promise"):
        yield f"promises: {entry['promise']}"
    if entry.get("broken_by"):
        yield f"broken by: {entry['broken_by']}"
    yield from entry.get("rungs", ())


def _summary(thing: Any) -> str:
    return str(thing.__doc__ or "").strip().splitlines()[0].strip()


def _parameters(kind: type[Any]) -> dict[str, str]:
    """Names and defaults, as --set takes them."""
    default = kind()
    return {name: _shown(getattr(default, name)) for name in settable(kind)}


def _shown(value: Any) -> str:
    """A value as it is typed; of one with parameters of its own, only those that are not its defaults."""
    if is_dataclass(value) and not isinstance(value, type):
        usual = type(value)()
        kept = {name: getattr(value, name) for name in settable(type(value))}
        told = (f"{name}={_shown(one)}" for name, one in kept.items() if one != getattr(usual, name))
        return f"{type(value).__name__}({', '.join(told)})"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


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

    return _promises(available())


def _transforms() -> Entries:
    from sparring.defenses import transforms

    return _promises(transforms())


def _promises(kinds: Mapping[str, Any]) -> Entries:
    return {
        name: {
            "summary": _summary(kind),
            "parameters": _parameters(kind),
            "promise": kind.promise,
            "broken_by": kind.broken_by,
        }
        for name, kind in kinds.items()
    }


def _models() -> Entries:
    from sparring.zoo import AVAILABLE

    return {f"zoo:{name}": {"summary": _summary(make)} for name, make in AVAILABLE.items()}


def _recipes() -> Entries:
    from sparring.training import recipes

    return {name: {"summary": recipe.about} for name, recipe in recipes().items()}


SECTIONS: dict[str, Callable[[], Entries]] = {
    "attacks": _attacks,
    "threats": _threats,
    "objectives": _objectives,
    "plans": _plans,
    "defenses": _defenses,
    "transforms": _transforms,
    "models": _models,
    "recipes": _recipes,
}

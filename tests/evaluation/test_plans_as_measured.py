"""The plans are the ones that the figures of the pages were measured with: plans.txt holds every number of them.

Whoever changes a plan makes these figures again (CONTRIBUTING), and then writes the file anew:
`python tests/evaluation/test_plans_as_measured.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from sparring.evaluation import PLANS

FILE = Path(__file__).parent / "plans.txt"
NORMS = ("linf", "l2", "l1", "l0")


def told(plan: str, norm: str) -> Iterator[str]:
    """A line for every attack: its name, its fields and the rules that are not the default."""
    for rung in PLANS[plan](norm):
        attack = rung.attack
        named = ((field.name, getattr(attack, field.name), field.default) for field in fields(attack))
        values = ", ".join(f"{name}={_plain(value)}" for name, value, default in named if value != default)
        rules = {key: value for key, value in rung.records().items() if key not in ("name", "attack")}
        yield f"{rung.name}: {type(attack).__name__}({values}) {rules or ''}".rstrip()


def _plain(value: object) -> str:
    return repr(value) if " at 0x" not in repr(value) else type(value).__name__


def page() -> str:
    every = ((plan, norm, "\n".join(told(plan, norm))) for plan in PLANS for norm in NORMS)
    return "\n\n".join(f"# {plan} {norm}\n{lines}" for plan, norm, lines in every) + "\n"


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_is_the_one_that_was_measured(plan: str) -> None:
    kept = dict(part.split("\n", 1) if "\n" in part else (part, "") for part in FILE.read_text().strip().split("\n\n"))
    for norm in NORMS:
        assert "\n".join(told(plan, norm)) == kept[f"# {plan} {norm}"].strip()


if __name__ == "__main__":
    FILE.write_text(page())

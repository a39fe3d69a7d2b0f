"""Runs every benchmark in turn and says at the end which were skipped: `python -m benchmarks`."""

from __future__ import annotations

import importlib

from benchmarks.fixtures import Absent

SCRIPTS = ("step_cost", "linear", "independence", "published")


def main() -> None:
    skipped: dict[str, Absent] = {}
    for name in SCRIPTS:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"\n===== {name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
        try:
            module.main([])
        except Absent as absent:
            skipped[name] = absent
            print(f"skipped: {absent}")
    print(f"\n===== done; skipped: {', '.join(skipped) or 'none'}")
    for name, why in skipped.items():
        print(f"  {name}: {why}")


if __name__ == "__main__":
    main()

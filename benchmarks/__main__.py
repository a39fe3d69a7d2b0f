"""Runs every benchmark in turn and says at the end what was skipped or failed: `python -m benchmarks`."""

from __future__ import annotations

import subprocess
import sys

SCRIPTS = (
    "step_cost",
    "linear",
    "independence",
    "sharding",
    "published",
    "autoattack",
    "evaluation",
    "evaluation_masked",
    "training_cost",
    "defenses",
    "masking",
    "cifar10",
    "flash_clips",
    "flash_codecs",
    "flash_mitigation",
    "flash_speed",
)


def main() -> int:
    noted = []
    for name in SCRIPTS:
        print(f"\n===== {name}", flush=True)
        command = [sys.executable, "-u", "-m", f"benchmarks.{name}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            for line in run.stdout:
                print(line, end="", flush=True)
                if line.startswith("skipped: ") or "NOT MET" in line:
                    noted.append(f"{name}: {line.strip()}")
        if run.returncode:
            noted.append(f"{name}: failed with exit code {run.returncode}")
    print("\n===== done; skipped, failed or not met:", *(noted or ["nothing"]), sep="\n")
    return int(any("failed with exit code" in line for line in noted))


if __name__ == "__main__":
    sys.exit(main())

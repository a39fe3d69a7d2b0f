"""One thread, and the same numbers every time; and a way to type command lines."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import settings

# pytest's importlib mode puts no test folder on the path, and the helpers beside this file are imported by name.
sys.path.insert(0, str(Path(__file__).parent))

if TYPE_CHECKING:
    from typed import Said, Type

torch.set_num_threads(1)
settings.register_profile("sparring", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("sparring")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Whatever a test draws without a generator of its own is the same every time."""
    torch.manual_seed(0)


@pytest.fixture
def type_(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Type:
    """Types a command line in an empty folder."""
    from sparring.cli import main
    from typed import Said

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(line: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["sparring", *shlex.split(line)])
        with pytest.raises(SystemExit) as stop:
            main()
        code = stop.value.code
        return Said(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run

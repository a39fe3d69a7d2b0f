"""One thread, and the same numbers every time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# pytest's importlib mode puts no test folder on the path, and the helpers beside this file are imported by name.
sys.path.insert(0, str(Path(__file__).parent))

torch.set_num_threads(1)
settings.register_profile("sparring", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("sparring")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Whatever a test draws without a generator of its own is the same every time."""
    torch.manual_seed(0)

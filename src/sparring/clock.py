"""How long something took."""

from __future__ import annotations

import time


def since(start: float) -> float:
    """Seconds since `time.perf_counter()` was `start`; not less than none, should the clock have been set back."""
    return max(0.0, time.perf_counter() - start)

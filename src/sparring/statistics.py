"""How sure a share of N examples is."""

from __future__ import annotations


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """The exact binomial interval (Clopper & Pearson 1934)."""
    from scipy.stats import binomtest  # takes most of a second to import, and the answer comes last

    interval = binomtest(successes, trials).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)

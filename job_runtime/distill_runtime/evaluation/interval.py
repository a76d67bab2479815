"""The confidence interval of a share of right answers."""

import math
from typing import Final

NORMAL_QUANTILE_95: Final = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


def wilson_interval(share: float, trials: int, quantile: float = NORMAL_QUANTILE_95) -> tuple[float, float]:
    """Give Wilson's score interval of a binomial proportion (Wilson 1927; Newcombe 1998, method 3).

    Unlike the normal approximation it is right for few trials and for shares near 0 and 1, where benchmarks end up.

    Args:
        share: observed, from 0 to 1; need not be a whole number of successes.
        trials: independent trials, at least 1.

    Returns:
        Its lower and its upper end, from 0 to 1.
    """
    if trials < 1:
        raise ValueError("an interval needs at least one trial")
    if not 0 <= share <= 1:
        raise ValueError(f"a share must lie between 0 and 1, not {share}")
    square = quantile**2
    centre = share + square / (2 * trials)
    margin = quantile * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    scale = 1 + square / trials
    # At the edges the end is the edge itself, which rounding would miss by a hair.
    low = 0.0 if share == 0 else (centre - margin) / scale
    high = 1.0 if share == 1 else (centre + margin) / scale
    return low, high

"""Confidence intervals of a share of right answers: of one answer a problem, and of several."""

import math
from collections.abc import Sequence
from typing import Final

NORMAL_QUANTILE_95: Final = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


_CAUTION: Final = 0.25
"""Weight of the assumption that all answers to a problem are alike, in problems that were got wrong (or right, if these
are fewer). Without it the interval is far too narrow where hardly any problem was got wrong; see the tests."""


def wilson_interval(share: float, trials: float, quantile: float = NORMAL_QUANTILE_95) -> tuple[float, float]:
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


def clustered_interval(scores: Sequence[float], samples_per_problem: int) -> tuple[float, float]:
    """Give the 95 % interval of the mean score of problems that were answered several times.

    Wilson's interval with an effective number of trials, between that of the problems and that of the answers, as their
    design effect makes it (Kish 1965; Korn and Graubard 1998 do so with Clopper and Pearson's). Unlike that of Student,
    it is no point where all answers were right, and its coverage holds at high scores and few problems. A design effect
    that few wrong problems tell little of is drawn towards its largest.

    Args:
        scores: the share of right answers to each problem, from 0 to 1, at least one.
        samples_per_problem: answers to each, at least 1. With one it is Wilson's interval.

    Returns:
        Its lower and its upper end, from 0 to 1.
    """
    problems = len(scores)
    # The sum of shares that are all 1 may miss 1 by a hair.
    share = min(math.fsum(scores) / problems, 1.0)
    rarer = problems * min(share, 1 - share)
    alike = 1.0
    if problems > 1 and rarer > 0:
        variance = math.fsum((score - share) ** 2 for score in scores) / (problems - 1)
        alike = min(max(variance / (share * (1 - share)), 1 / samples_per_problem), 1.0)
    alike += (1 - alike) * _CAUTION / (_CAUTION + rarer)
    return wilson_interval(share, problems / alike)

"""The difference of two models' scores, with interval and p-value. Shares, from -1 to 1; the first minus the second."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from distill_runtime.evaluation.interval import NORMAL_QUANTILE_95, wilson_interval

RESAMPLES: Final = 9_999
_SEED: Final = 20_240_611
_NUMBERS_AT_ONCE: Final = 1 << 20
_EVEN: Final = 1e-12
"""Sums of shares that are equal may differ by so much in floating point."""


@dataclass(frozen=True)
class Difference:
    """A difference with its 95 % interval and the probability of one as large between equal models."""

    value: float
    low: float
    high: float
    p_value: float


def describe_p(p_value: float) -> str:
    """Give a p-value as it is read; what is as small as this says no more by its digits."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.2g}"  # noqa: PLR2004 - as it says


def mcnemar(better: int, worse: int, problems: int) -> Difference:
    """Compare one answer each to the same problems.

    p is that of the exact McNemar test: of the problems on which the two disagree, each is as likely to be in favour of
    either. The interval is that of Bonett and Price (2012), which is no point where they never disagree.

    Args:
        better: problems that only the first has right.
        worse: problems that only the second has right.
    """
    disagreed = better + worse
    tail = sum(math.comb(disagreed, count) for count in range(min(better, worse) + 1))
    p_value = min(1.0, 2 * tail / 2**disagreed)
    first, second = (better + 1) / (problems + 2), (worse + 1) / (problems + 2)
    centre = first - second
    margin = NORMAL_QUANTILE_95 * math.sqrt((first + second - centre**2) / (problems + 2))
    return Difference((better - worse) / problems, max(-1.0, centre - margin), min(1.0, centre + margin), p_value)


def paired_bootstrap(differences: NDArray[np.float64]) -> Difference:
    """Compare several answers each to the same problems.

    The interval is the percentile interval of the mean over resampled problems (Efron 1979). p is that of the
    sign-flip test, of which McNemar's is the case of one answer each: if the models are equal, each problem's
    difference is as likely to have the other sign. Both are seeded, so that the same answers give the same figures.

    Args:
        differences: of the shares of right answers to each problem, at least one.
    """
    problems = len(differences)
    value = float(differences.mean())
    disagreed = differences[differences != 0]
    if not len(disagreed):
        return mcnemar(0, 0, problems)  # a bootstrap of nothing but zeros would be sure of it
    random = np.random.default_rng(_SEED)

    def resampled_means(rows: int) -> NDArray[np.float64]:
        means: NDArray[np.float64] = differences[random.integers(0, problems, (rows, problems))].mean(axis=1)
        return means

    def flipped_sums(rows: int) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = (random.integers(0, 2, (rows, len(disagreed))) * 2 - 1) @ disagreed
        return sums

    low, high = np.quantile(_many(resampled_means, problems), (0.025, 0.975))
    sums = np.abs(_many(flipped_sums, len(disagreed)))
    extreme = int((sums >= abs(disagreed.sum()) - _EVEN).sum())
    return Difference(value, float(low), float(high), (extreme + 1) / (RESAMPLES + 1))


def _many(draw: Callable[[int], NDArray[np.float64]], width: int) -> NDArray[np.float64]:
    """Draw `RESAMPLES` numbers, each from a row of `width`, a bounded number of rows at once."""
    at_once = max(1, _NUMBERS_AT_ONCE // width)
    rows = [min(at_once, RESAMPLES - start) for start in range(0, RESAMPLES, at_once)]
    return np.concatenate([draw(count) for count in rows])


def unpaired(share: float, interval: tuple[float, float], other: float, other_problems: int) -> Difference:
    """Compare with a score of which only the number of problems is known.

    The interval is made of the two scores' own (Newcombe 1998, method 10; Zou and Donner 2008 for intervals of any
    kind), the other's being Wilson's. p takes the standard errors from their widths. That both may have been asked the
    same problems goes unused, so that less is found than paired.

    Args:
        share, interval: of this evaluation.
        other, other_problems: the published score.
    """
    low, high = interval
    other_low, other_high = wilson_interval(other, other_problems)
    value = share - other
    error = math.hypot(high - low, other_high - other_low) / (2 * NORMAL_QUANTILE_95)
    return Difference(
        value,
        value - math.hypot(share - low, other_high - other),
        value + math.hypot(high - share, other - other_low),
        math.erfc(abs(value) / error / math.sqrt(2)),
    )

"""What several answers to each problem tell: the two errors, pass@k, maj@k, and what difference could be shown."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from distill_runtime.evaluation.interval import NORMAL_QUANTILE_95
from distill_runtime.evaluation.score import ProblemResult, Sample

_NORMAL_QUANTILE_80: Final = 0.8416212335729143
"""One-sided 80 % quantile of the normal distribution."""
DETECTABLE: Final = NORMAL_QUANTILE_95 + _NORMAL_QUANTILE_80
"""A difference of so many standard errors is found significant at 5 % in 80 % of all cases."""


def standard_error(scores: Sequence[float]) -> float:
    """Give the standard error of the mean over problems (Miller 2024, arXiv 2411.00640, section 2).

    It answers whether the score would hold on other problems of the kind. What sampling adds is in it already.

    Args:
        scores: the share of right answers to each problem. One alone has no error that could be told: 0.
    """
    problems = len(scores)
    if problems == 1:
        return 0.0
    mean = math.fsum(scores) / problems
    return math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / (problems - 1) / problems)


def run_standard_error(scores: Sequence[float], samples_per_problem: int) -> float | None:
    """Give the standard error of the score over runs on these very problems: sampling noise only.

    The unbiased variance of each problem's share, s (1 - s) / (m - 1), is averaged; None with one answer a problem,
    which tells nothing of it.
    """
    if samples_per_problem == 1:
        return None
    noise = math.fsum(score * (1 - score) for score in scores) / (samples_per_problem - 1)
    return math.sqrt(noise) / len(scores)


def smallest_difference(low: float, high: float) -> float:
    """Give the difference to another model, on the same problems, that is shown with a power of 80 % at 5 %.

    How often two models disagree is not known before they are compared. That their results on a problem correlate by a
    half is assumed, so that their difference varies as much as one score. The standard error is that of the score's
    95 % interval, which unlike the plain one is not 0 where all answers are right.
    """
    return DETECTABLE * (high - low) / (2 * NORMAL_QUANTILE_95)


def ladder(samples_per_problem: int) -> tuple[int, ...]:
    """Give 1, 2, 4 … and the number of samples itself: the k that pass@k and maj@k are given for."""
    powers = [1 << exponent for exponent in range(samples_per_problem.bit_length())]
    return tuple(dict.fromkeys((*powers, samples_per_problem)))


def pass_at(results: Sequence[ProblemResult], k: int) -> float:
    """Give the share of problems that at least one of k answers solves, without bias (Chen et al. 2021, 2107.03374).

    Args:
        k: at most the samples of each problem.
    """
    return math.fsum(_pass_at(result.samples, k) for result in results) / len(results)


def _pass_at(samples: Sequence[Sample], k: int) -> float:
    """1 - C(n - c, k) / C(n, k), in whole numbers."""
    right = sum(sample.correct for sample in samples)
    return 1 - math.comb(len(samples) - right, k) / math.comb(len(samples), k)


def maj_at(results: Sequence[ProblemResult], k: int) -> float:
    """Give the share of problems that the most frequent of k answers solves (self-consistency, 2203.11171).

    Answers are counted as their texts were extracted; samples without an answer have no vote. Of several that are
    equally frequent, each is the answer with the same probability. Of n samples, each group of k in their order is one
    vote, and the votes are averaged; what is left over has none.

    Args:
        k: at most the samples of each problem.
    """
    return math.fsum(_maj_at(result.samples, k) for result in results) / len(results)


def _maj_at(samples: Sequence[Sample], k: int) -> float:
    votes = [samples[start : start + k] for start in range(0, len(samples) - k + 1, k)]
    return math.fsum(_vote(vote) for vote in votes) / len(votes)


def _vote(samples: Sequence[Sample]) -> float:
    """Give the probability that the vote is right."""
    ballots = Counter(sample.extracted for sample in samples if sample.extracted is not None)
    if not ballots:
        return 0.0
    most = max(ballots.values())
    elected = {answer for answer, count in ballots.items() if count == most}
    right = {sample.extracted for sample in samples if sample.correct}
    return len(elected & right) / len(elected)

"""Differences against scipy and closed forms; how often they are found where there is none, and where there is one."""

import numpy as np
import pytest
from scipy import stats

from distill_runtime.evaluation.differences import describe_p, mcnemar, paired_bootstrap, unpaired
from distill_runtime.evaluation.interval import wilson_interval


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (3, 11), (40, 25), (6, 6)])
def test_mcnemar_is_the_binomial_test_of_the_disagreements(better: int, worse: int) -> None:
    expected = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert mcnemar(better, worse, 500).p_value == pytest.approx(expected)


def chance_of_finding(first: float, second: float, problems: int) -> float:
    """Give the probability that p is at most 5 %, exactly.

    Args:
        first, second: probabilities that only the one, or only the other, has a problem right.
    """
    disagreed = np.arange(problems + 1)
    chance = stats.binom.pmf(disagreed, problems, first + second)
    found = 0.0
    for count in disagreed[chance > 1e-9]:
        better = np.arange(count + 1)
        significant = np.array([mcnemar(int(each), int(count - each), problems).p_value <= 0.05 for each in better])
        found += chance[count] * stats.binom.pmf(better, count, first / (first + second))[significant].sum()
    return float(found)


@pytest.mark.parametrize("disagreement", [0.02, 0.1, 0.3])
def test_where_there_is_no_difference_hardly_any_is_found(disagreement: float) -> None:
    assert chance_of_finding(disagreement / 2, disagreement / 2, 500) <= 0.05


def test_three_points_on_500_problems_are_found_if_the_models_seldom_disagree() -> None:
    """docs/evalrun.md has these figures."""
    assert chance_of_finding(0.04, 0.01, 500) == pytest.approx(0.83, abs=0.005)
    assert chance_of_finding(0.08, 0.05, 500) == pytest.approx(0.417, abs=0.005)


def simulated(difference: float, problems: int, evaluations: int) -> float:
    """Give how often p is at most 5 %, for four samples each of two models that find the same problems hard."""
    random = np.random.default_rng(3)
    found = 0
    for _ in range(evaluations):
        solved = random.beta(1.8, 0.2, problems)
        first, second = (random.binomial(4, np.clip(solved + half, 0, 1)) / 4 for half in (difference, 0.0))
        found += paired_bootstrap(first - second).p_value <= 0.05
    return found / evaluations


def test_with_several_samples_too() -> None:
    assert simulated(0.0, 40, 120) <= 0.05
    assert simulated(-0.15, 40, 20) >= 0.9


def test_the_bootstrap_is_that_of_scipy() -> None:
    differences = np.random.default_rng(5).choice([-0.5, -0.25, 0.0, 0.0, 0.25, 0.5, 0.75], 200)
    ours = paired_bootstrap(differences)
    theirs = stats.bootstrap(
        (differences,), np.mean, n_resamples=9_999, method="percentile", random_state=np.random.default_rng(1)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)
    flipped = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda first, second, axis: np.mean(first - second, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=9_999,
        random_state=np.random.default_rng(1),
    )
    assert ours.p_value == pytest.approx(flipped.pvalue, abs=0.015)


def test_the_sign_flip_test_of_one_sample_each_is_mcnemars() -> None:
    differences = np.array([1.0] * 12 + [-1.0] * 3 + [0.0] * 85)
    assert paired_bootstrap(differences).p_value == pytest.approx(mcnemar(12, 3, 100).p_value, abs=0.006)


def test_two_that_never_disagree_are_not_surely_equal() -> None:
    found = paired_bootstrap(np.zeros(30))
    assert (found.value, found.p_value) == (0.0, 1.0)
    assert found.low < -0.05 < 0.05 < found.high


def test_the_interval_of_a_paired_difference_is_bonett_and_prices() -> None:
    found = mcnemar(20, 10, 200)
    first, second = 21 / 202, 11 / 202
    half = 1.959964 * ((first + second - (first - second) ** 2) / 202) ** 0.5
    assert (found.low, found.high) == pytest.approx((first - second - half, first - second + half))


def test_an_unpaired_difference_has_newcombes_interval() -> None:
    """Newcombe, Statistics in Medicine 17 (1998) 873-890, table II, method 10: 56/70 and 48/80."""
    found = unpaired(56 / 70, wilson_interval(56 / 70, 70), 48 / 80, 80)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)


@pytest.mark.parametrize(("p_value", "said"), [(1.0, "1"), (0.0312, "0.031"), (0.001, "0.001"), (0.0, "< 0.001")])
def test_a_p_value_is_never_zero(p_value: float, said: str) -> None:
    assert describe_p(p_value) == said

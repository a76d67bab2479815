"""Wilson's interval against published values, and how often that of several samples holds the true score."""

import numpy as np
import pytest

from distill_runtime.evaluation.interval import clustered_interval, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # MATH-500 at 90 %.
        (450, 500, 0.8706, 0.9233),
    ],
)
def test_published_values(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes / trials, trials) == pytest.approx((low, high), abs=5e-5)


def test_the_edges_are_exact() -> None:
    assert wilson_interval(0.0, 250)[0] == 0.0
    assert wilson_interval(1.0, 250)[1] == 1.0


@pytest.mark.parametrize(("share", "trials"), [(0.5, 0), (1.5, 10), (-0.1, 10)])
def test_what_is_no_proportion_is_refused(share: float, trials: int) -> None:
    with pytest.raises(ValueError, match=r"trial|between 0 and 1"):
        wilson_interval(share, trials)


@pytest.mark.parametrize("alike", [0.3, 0.7])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
@pytest.mark.parametrize("samples", [4, 16])
@pytest.mark.parametrize(("problems", "evaluations"), [(30, 2000), (200, 1000), (500, 500)])
def test_the_true_score_is_in_the_interval(
    problems: int, evaluations: int, samples: int, share: float, alike: float
) -> None:
    """How hard a problem is, is drawn from a beta distribution; `alike` is how far answers to one problem correlate.

    docs/performance.md has the table; of so few evaluations 93 % of 95 % is what chance leaves.
    """
    random = np.random.default_rng(7)
    spread = 1 / alike - 1
    solved = random.beta(share * spread, (1 - share) * spread, (evaluations, problems))
    scores = (random.binomial(samples, solved) / samples).tolist()
    intervals = [clustered_interval(row, samples) for row in scores]
    held = sum(low <= share <= high for low, high in intervals) / evaluations
    assert held >= 0.93
    if problems > 30:  # with fewer, hardly any is wrong, and it is wide
        assert held <= 0.98


def test_one_sample_a_problem_is_wilson() -> None:
    assert clustered_interval([1.0] * 27 + [0.0] * 3, 1) == pytest.approx(wilson_interval(0.9, 30))


def test_all_right_is_no_point() -> None:
    low, high = clustered_interval([1.0] * 30, 16)
    assert (low, high) == pytest.approx(wilson_interval(1.0, 30))

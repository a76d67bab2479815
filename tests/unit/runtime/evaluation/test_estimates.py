"""Errors, pass@k and maj@k against scipy, closed forms and enumeration."""

from itertools import combinations

import pytest
from scipy import stats

from distill_runtime.evaluation.estimates import (
    ladder,
    maj_at,
    pass_at,
    run_standard_error,
    smallest_difference,
    standard_error,
)
from distill_runtime.evaluation.interval import wilson_interval
from distill_runtime.evaluation.score import ProblemResult, Sample


def problem(*answers: str | None) -> ProblemResult:
    """A problem whose answer is a; None is a sample without an answer."""
    samples = [
        Sample(number, "correct" if text == "a" else "incorrect" if text else "noAnswer", text, "stop")
        for number, text in enumerate(answers)
    ]
    return ProblemResult("u", "?", "a", samples)


@pytest.mark.parametrize(("right", "samples"), [(0, 6), (1, 6), (3, 6), (6, 6), (200, 256)])
def test_pass_at_k_is_the_hypergeometric_one(right: int, samples: int) -> None:
    results = [problem(*["a"] * right, *["b"] * (samples - right))]
    for k in ladder(samples):
        expected = 1 - stats.hypergeom(samples, right, k).pmf(0)
        assert pass_at(results, k) == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_is_the_mean_over_all_choices() -> None:
    answers = ["a", "b", "b", "a", "c"]
    choices = list(combinations(answers, 3))
    assert pass_at([problem(*answers)], 3) == pytest.approx(sum("a" in choice for choice in choices) / len(choices))


@pytest.mark.parametrize(
    ("answers", "k", "expected"),
    [
        (["a", "a", "b"], 3, 1.0),
        (["a", "b", "b"], 3, 0.0),
        (["a", "b"], 2, 0.5),
        (["a", "b", "c"], 3, 1 / 3),
        ([None, None, "a"], 3, 1.0),
        ([None, None], 2, 0.0),
        (["a", "a", "b", "b"], 2, 0.5),
        (["a", "a", "a", "b", "b"], 2, 0.75),  # the fifth is in no group: aa, ab
    ],
)
def test_the_most_frequent_answer_wins_and_ties_are_shared(answers: list[str | None], k: int, expected: float) -> None:
    assert maj_at([problem(*answers)], k) == pytest.approx(expected)


@pytest.mark.parametrize(("samples", "expected"), [(1, (1,)), (4, (1, 2, 4)), (6, (1, 2, 4, 6))])
def test_the_ladder_ends_with_all_samples(samples: int, expected: tuple[int, ...]) -> None:
    assert ladder(samples) == expected


def test_the_error_over_problems_is_that_of_a_mean() -> None:
    scores = [0.0, 0.25, 1.0, 1.0, 0.5, 1.0]
    assert standard_error(scores) == pytest.approx(stats.sem(scores))
    assert standard_error([1.0]) == 0.0


def test_the_error_over_runs_knows_sampling_only() -> None:
    assert run_standard_error([0.0, 1.0, 1.0], 8) == 0.0
    assert run_standard_error([0.5, 0.5], 5) == pytest.approx((2 * 0.25 / 4) ** 0.5 / 2)
    assert run_standard_error([0.5, 0.5], 1) is None


def test_the_smallest_difference_has_a_power_of_80_percent() -> None:
    low, high = wilson_interval(0.5, 10_000)
    difference, error = smallest_difference(low, high), 0.005
    assert stats.norm.sf(stats.norm.ppf(0.975) - difference / error) == pytest.approx(0.8, abs=1e-3)

"""Counts that close, and a score that an outage cannot raise."""

import pytest

from distill_runtime.evaluation.interval import wilson_interval
from distill_runtime.evaluation.score import ProblemResult, Sample, count_samples, score_metrics


def problem(*samples: Sample) -> ProblemResult:
    return ProblemResult("u", "1 + 1?", "2", samples)


RIGHT = Sample(0, "correct", "2", "stop")
WRONG = Sample(0, "incorrect", "3", "stop")
CUT_OFF = Sample(0, "noAnswer", None, "length")
UNANSWERED = Sample(0, None, None, None)


def test_counts_close() -> None:
    counts = count_samples([problem(sample) for sample in (RIGHT, RIGHT, WRONG, CUT_OFF, UNANSWERED)])
    assert counts == {
        "problems": 5,
        "samples": 5,
        "correct": 2,
        "incorrect": 1,
        "noAnswer": 1,
        "unanswered": 1,
        "truncated": 1,
    }


def test_what_was_not_answered_is_wrong() -> None:
    results = [problem(RIGHT), problem(UNANSWERED)]
    metrics = score_metrics(results, count_samples(results))
    assert metrics["score"] == 50.0
    assert metrics["unansweredRate"] == 50.0


def test_several_samples_of_a_problem_are_one_trial() -> None:
    results = [problem(RIGHT, WRONG), problem(RIGHT, RIGHT)]
    metrics = score_metrics(results, count_samples(results))
    low, high = wilson_interval(0.75, 2)
    assert (metrics["score"], metrics["scoreLow"], metrics["scoreHigh"]) == pytest.approx((75.0, 100 * low, 100 * high))

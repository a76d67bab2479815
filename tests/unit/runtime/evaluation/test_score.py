"""Counts that close, and a score that an outage cannot raise."""

import pytest

from distill_runtime.contract import Protocol
from distill_runtime.evaluation.score import ProblemResult, Sample, count_samples
from distill_runtime.evaluation.summarising import metrics_of, summarise
from distill_runtime.evaluation.summary import Overlap, ProtocolFingerprint, Summary


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


def test_what_says_more_of_a_sample_is_counted_once_more() -> None:
    empty = Sample(0, "noAnswer", None, "stop", 3, empty=True)
    cut_off = Sample(0, "noAnswer", None, "length", 9, empty=True)
    refused = Sample(0, "noAnswer", None, "content_filter", 0, empty=True)
    undecided = [Sample(0, "timeout", "x", "stop"), Sample(0, "crashed", "x", "stop")]
    counts = count_samples([problem(sample) for sample in (empty, cut_off, refused, *undecided)])
    assert {"empty": 1, "truncated": 1, "refused": 1, "undecided": 2, "noAnswer": 3}.items() <= counts.items()


def summary(results: list[ProblemResult], samples: int) -> Summary:
    protocol = Protocol(samples_per_problem=samples)
    return summarise(
        "plus-one",
        protocol,
        ProtocolFingerprint(),
        results,
        count_samples(results),
        {},
        Overlap(unknown="nobody looked"),
    )


def test_what_was_not_answered_is_wrong() -> None:
    found = summary([problem(RIGHT), problem(UNANSWERED)], 1)
    assert (found.score, found.unanswered_rate, found.interval.method) == (50.0, 50.0, "wilson")


def test_both_errors_are_told_where_there_are_several_samples() -> None:
    found = summary([problem(RIGHT, WRONG), problem(RIGHT, RIGHT)], 2)
    assert (found.score, found.interval.method) == (75.0, "effectiveSampleSize")
    assert found.stderr == pytest.approx(25.0)  # of 50 and 100
    assert found.run_stderr == pytest.approx(25.0)  # sqrt(.25 / 1) / 2
    metrics = metrics_of(found)
    assert (metrics["pass@1"], metrics["pass@2"], metrics["maj@2"]) == (75.0, 100.0, 75.0)


def test_one_sample_tells_nothing_of_other_runs() -> None:
    metrics = metrics_of(summary([problem(RIGHT), problem(WRONG)], 1))
    assert not {"runStderr", "pass@1", "maj@1"} & metrics.keys()

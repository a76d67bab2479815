"""Every answer is in one group of each breakdown, and what is not known has a group of its own."""

import pytest

from distill_runtime.evaluation.breakdown import MOST_GROUPS, by_column, by_length
from distill_runtime.evaluation.score import ProblemResult, Sample
from distill_runtime.evaluation.unfinished import closes_unopened, may_be_reasoning


def problem(uuid: str, *samples: Sample) -> ProblemResult:
    return ProblemResult(uuid, "?", "2", samples)


def right(tokens: int | None = None) -> Sample:
    return Sample(0, "correct", "2", "stop", tokens)


def wrong(tokens: int | None = None) -> Sample:
    return Sample(0, "incorrect", "3", "length", tokens)


def test_problems_are_grouped_by_their_value() -> None:
    results = [problem("a", right()), problem("b", wrong()), problem("c", right())]
    breakdown = by_column(results, "level", {"a": "1", "b": "1", "c": None})
    assert [(group.value, group.problems, group.score, group.truncated_rate) for group in breakdown.groups] == [
        ("(none)", 1, 100.0, 0.0),
        ("1", 2, 50.0, 50.0),
    ]


def test_of_very_many_values_the_smallest_groups_are_one() -> None:
    results = [problem(f"{number:03}", right()) for number in range(MOST_GROUPS + 5)]
    groups = by_column(results, "id", {result.uuid: result.uuid for result in results}).groups
    assert (len(groups), groups[-1].value, groups[-1].problems) == (MOST_GROUPS + 1, "(others)", 5)


def test_answers_are_grouped_by_length() -> None:
    results = [problem("a", right(0), right(1023), wrong(1024)), problem("b", wrong(4096), right(None))]
    assert [(group.value, group.samples, group.problems, group.score) for group in by_length(results).groups] == [
        ("(none)", 1, 1, 100.0),
        ("0-1023", 2, 1, 100.0),
        ("1024-2047", 1, 1, 0.0),
        ("4096-8191", 1, 1, 0.0),
    ]


@pytest.mark.parametrize(
    ("content", "finish_reason", "closes", "may_be"),
    [
        ("let me \\boxed{2}", "length", False, True),
        ("let me", "stop", False, False),
        ("a</think>\\boxed{2}", "length", True, False),
        ("<think>a</think>b", "stop", False, False),
        ("<think>a", "length", False, True),
    ],
)
def test_reasoning_that_the_prompt_opened_is_told_by_its_end(
    content: str, finish_reason: str, closes: bool, may_be: bool
) -> None:
    assert closes_unopened(content) == closes
    assert may_be_reasoning(content, finish_reason) == may_be

"""A sample of the answers says early that too few will be accepted, and does not cry wolf."""

import random
from typing import Any

import pytest

from distill_runtime.client.values import Answer, Failure, Outcome, Reply, Request
from distill_runtime.contract import FilterParameters
from distill_runtime.generation.forecast import Forecast, Window

TOTAL = 100_000


def window(least: float, *shares: tuple[int, float], seed: int = 0) -> Window:
    """Judge so many generations of which such a share is right, one block after the other."""
    draw = random.Random(seed)
    found = Window(least)
    for number, share in shares:
        for _ in range(number):
            found.add("accepted" if draw.random() < share else "incorrect")
    return found


@pytest.mark.parametrize(
    ("least", "blocks", "hopeless"),
    [
        (0.3, [(199, 0.0)], False),
        (0.3, [(200, 0.0)], True),
        (0.3, [(200, 0.05)], True),
        (0.3, [(200, 0.35)], False),
        (0.9, [(200, 0.6)], True),
        (0.02, [(200, 0.0)], False),
        (0.02, [(1500, 0.0)], True),
    ],
)
def test_it_is_hopeless_once_the_sample_is_large_enough_and_too_bad(
    least: float, blocks: list[tuple[int, float]], hopeless: bool
) -> None:
    done = sum(number for number, _ in blocks)
    assert window(least, *blocks).is_hopeless(done, TOTAL) is hopeless


def test_a_hard_part_of_the_source_is_no_reason_to_stop() -> None:
    assert not window(0.3, (60_000, 0.7), (1000, 0.05)).is_hopeless(61_000, TOTAL)


def test_a_bad_part_that_cannot_be_made_up_for_is() -> None:
    assert window(0.5, (20_000, 0.7), (1000, 0.05)).is_hopeless(21_000, TOTAL)


@pytest.mark.parametrize("seed", range(5))
def test_a_rate_just_above_the_least_does_not_stop_a_long_run(seed: int) -> None:
    found = window(0.3, (199, 0.34), seed=seed)
    draw = random.Random(seed)
    for done in range(200, 20_000):
        found.add("accepted" if draw.random() < 0.34 else "incorrect")
        assert not found.is_hopeless(done, 20_000)


def test_the_most_frequent_reasons_come_first() -> None:
    found = Window(0.5)
    for reason, number in (("noAnswer", 1), ("incorrect", 3), ("truncated", 2), ("accepted", 2)):
        for _ in range(number):
            found.add(reason)
    words = "2 of the last 8 generations judged (25.0 %); rejected: 3 incorrect, 2 truncated, 1 noAnswer"
    assert found.describe() == words


def outcome(content: str, finish_reason: str = "stop") -> Outcome:
    request = Request("00", {}, {"answer": "4"})
    return Answer(request, Reply(content, "Two and two.", finish_reason, 1, 1, "m"), "http://a", 1, 1.0)


def record(content: str, **fields: Any) -> dict[str, Any]:
    return {"failure": None, "finish_reason": "stop", "answer": "4", "reasoning": None, "content": content, **fields}


FAILURE = Failure(Request("00", {}, {"answer": "4"}), "refused", "too long", "http://a", 1)
RIGHT, WRONG = r"It is \boxed{4}.", r"It is \boxed{5}."


@pytest.mark.parametrize(("on_truncated", "truncated"), [("drop", "truncated"), ("keep", "accepted")])
def test_generations_are_judged_as_the_filter_does(on_truncated: Any, truncated: str) -> None:
    forecast = Forecast(FilterParameters(min_acceptance_rate=0.5, on_truncated=on_truncated))
    with forecast:
        for one in (outcome(RIGHT), outcome(WRONG), outcome("Four."), outcome(RIGHT, "length"), FAILURE, FAILURE):
            forecast.take(one)
        while forecast.window.reasons.total() < 5:  # the last one may wait for another to come
            forecast.take(FAILURE)
    reasons = {reason: number for reason, number in forecast.window.reasons.items() if reason != "failed"}
    expected = {"accepted": 1, "incorrect": 1, "noAnswer": 1}
    expected[truncated] = expected.get(truncated, 0) + 1
    assert reasons == expected


def test_records_of_a_journal_are_judged_like_outcomes() -> None:
    forecast = Forecast(FilterParameters(min_acceptance_rate=0.5))
    failed = {"failure": "refused", "finish_reason": None, "answer": "4", "failure_message": "too long"}
    forecast.judge_records([record(RIGHT), record(WRONG), record(RIGHT, finish_reason="length"), failed])
    assert forecast.window.reasons == {"accepted": 1, "incorrect": 1, "truncated": 1, "failed": 1}


def test_what_there_is_no_room_for_is_left_out_and_never_waited_for() -> None:
    forecast = Forecast(FilterParameters(min_acceptance_rate=0.5))
    for _ in range(10_000):
        forecast.take(outcome(RIGHT))
    with forecast:
        pass
    assert forecast.window.reasons.total() <= 64

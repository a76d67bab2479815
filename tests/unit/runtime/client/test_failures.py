import pytest

from distill_runtime.client.failures import HeldFailures
from distill_runtime.client.values import Answer, Failure, Reply, Request
from distill_runtime.foundation.errors import Retryable, WrongInput

REQUEST = Request("0" * 16, {"max_tokens": 10}, {})


def answer() -> Answer:
    return Answer(REQUEST, Reply("c", None, "stop", 1, 1, "m"), "http://a/v1", 1, 1.0)


def failure(reason: str = "refused", what: str = "answers 400: too long") -> Failure:
    return Failure(REQUEST, reason, f"http://a/v1 {what}", "http://a/v1", 1)


def test_failures_are_held_back_until_the_next_answer_and_then_come_first() -> None:
    failures = HeldFailures(8)
    for _ in range(2):
        first, second, answered = failure(), failure("serverError"), answer()
        assert [*failures.settle(first), *failures.settle(second)] == []
        assert failures.settle(answered) == [first, second, answered]
    assert failures.release() == []


@pytest.mark.parametrize(("at_once", "enough"), [(1, 20), (20, 20), (100, 100)])
@pytest.mark.parametrize("answered_before", [False, True])
def test_more_in_a_row_than_may_be_chance_are_to_be_judged(at_once: int, enough: int, answered_before: bool) -> None:
    failures = HeldFailures(at_once)
    if answered_before:
        failures.settle(answer())
    for _ in range(enough):
        assert not failures.are_too_many
        failures.settle(failure())
    assert failures.are_too_many
    assert len(failures.release()) == enough
    assert not failures.are_too_many


def test_what_was_refused_from_the_first_is_wrong_input() -> None:
    error = HeldFailures(8).explain([failure()] * 20, failure())
    assert isinstance(error, WrongInput)
    assert error.reason == "EndpointRefuses"
    assert error.message.startswith(
        "each of the first 20 requests failed, the last time http://a/v1 answers 400: too long, and a trivial one"
    )


def test_what_is_refused_after_answers_may_be_taken_back() -> None:
    failures = HeldFailures(8)
    failures.settle(answer())
    error = failures.explain([failure()] * 20, failure())
    assert isinstance(error, Retryable)
    assert error.reason == "EndpointRefuses"
    assert error.message.startswith("each of the last 20 requests failed")


def test_an_endpoint_that_does_not_even_answer_the_trivial_one_is_unreachable() -> None:
    error = HeldFailures(8).explain([failure()] * 20, failure("serverError", "answers 500"))
    assert isinstance(error, Retryable)
    assert error.reason == "EndpointUnreachable"
    assert "20 requests in a row failed, and so did a trivial one: http://a/v1 answers 500" in error.message

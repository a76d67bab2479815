import pytest

from distill_runtime.client.refusals import Refusals
from distill_runtime.client.values import Answer, Failure, Reply, Request
from distill_runtime.foundation.errors import WrongInput

REQUEST = Request("0" * 16, {"max_tokens": 10}, {})


def answer(endpoint: str = "http://a/v1") -> Answer:
    return Answer(REQUEST, Reply("c", None, "stop", 1, 1, "m"), endpoint, 1, 1.0)


def refusal(endpoint: str = "http://a/v1", what: str = "answers 400: too long") -> Failure:
    return Failure(REQUEST, "refused", f"{endpoint} {what}", endpoint, 1)


def test_refusals_are_held_back_until_the_first_answer_and_then_come_first() -> None:
    refusals = Refusals(8)
    first, second, answered = refusal(), refusal(), answer()
    assert [*refusals.settle(first), *refusals.settle(second)] == []
    assert refusals.settle(answered) == [first, second, answered]
    assert not refusals.held


def test_after_the_first_answer_a_refusal_is_the_requests_own() -> None:
    refusals = Refusals(8)
    refusals.settle(answer())
    refused = refusal()
    assert refusals.settle(refused) == [refused]


def test_other_failures_are_settled_at_once() -> None:
    failure = Failure(REQUEST, "serverError", "http://a/v1 answers 500", "http://a/v1", 3)
    assert Refusals(8).settle(failure) == [failure]


def test_the_answers_of_one_endpoint_say_nothing_about_another() -> None:
    refusals = Refusals(8)
    refusals.settle(answer("http://a/v1"))
    refused = refusal("http://b/v1")
    assert refusals.settle(refused) == []
    assert refusals.held == {"http://b/v1": [refused]}


@pytest.mark.parametrize(("at_once", "enough"), [(1, 20), (20, 20), (100, 100)])
def test_an_endpoint_that_refuses_more_than_may_be_chance_is_given_up(at_once: int, enough: int) -> None:
    refusals = Refusals(at_once)
    for _ in range(enough - 1):
        refusals.settle(refusal())
    message = f"each of the first {enough} requests was refused; the last time http://a/v1 answers 400: too long; "
    with pytest.raises(WrongInput, match=message) as error:
        refusals.settle(refusal())
    assert error.value.reason == "EndpointRefuses"

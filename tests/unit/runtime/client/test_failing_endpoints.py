"""Endpoints that fail in every way, beside one that answers and alone; requests that fail whoever is asked.

What must not happen is counted, not timed: a request that no failing endpoint is sent waits for none.
"""

import itertools
import threading
from contextlib import ExitStack

import pytest
from support.asking import ask_all, check, requests, settings
from support.ports import unused_port
from support.scripted_teacher import Reaction, ScriptedTeacher, teacher

from distill_runtime.client import endpoints, probes
from distill_runtime.client.probes import TRIVIAL_QUESTION
from distill_runtime.client.values import Answer, Failure, Outcome
from distill_runtime.foundation.errors import Retryable, WrongInput

pytestmark = pytest.mark.usefixtures("short_waits")

HANGS = Reaction(delay=3600)
FAILING = {
    "hanging": HANGS,
    "429": Reaction(429),
    "429 for long": Reaction(429, headers={"Retry-After": "900"}),
    "500": Reaction(500),
    "cut": Reaction(disconnect=True),
    "html": Reaction(body="<html>Welcome</html>"),
}


def dead() -> str:
    return f"http://127.0.0.1:{unused_port()}/v1"


def answers(outcomes: dict[str, Outcome]) -> int:
    return sum(isinstance(outcome, Answer) for outcome in outcomes.values())


def test_no_failing_endpoint_is_sent_a_request_beside_one_that_answers_at_any_number_of_prompts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endpoints, "_FIRST_REST_SECONDS", 60.0)
    with ExitStack() as stack:
        failing = [stack.enter_context(teacher(lambda *_, how=how: how)) for how in FAILING.values()]
        good = stack.enter_context(teacher(lambda *_: Reaction(delay=0.002)))
        urls = itertools.cycle([*(server.url for server in failing), dead()])
        for number in range(1, 101):
            order = [next(urls), good.url] if number % 2 else [good.url, next(urls)]
            outcomes = ask_all(settings(*order, request_timeout_seconds=3600), requests(number))
            assert answers(outcomes) == number
    assert good.requests == sum(range(1, 101))
    assert [server.requests for server in failing] == [0] * len(failing)


def test_two_dead_endpoints_of_three_do_no_harm() -> None:
    with teacher() as good:
        assert answers(ask_all(settings(dead(), dead(), good.url), requests(40))) == 40


@pytest.mark.parametrize("how", FAILING.values(), ids=FAILING.keys())
def test_an_endpoint_that_begins_to_fail_keeps_no_request(how: Reaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "_SHORTEST_SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(probes, "_FIRST_SECONDS", 0.2)
    counter = itertools.count()
    turning = lambda *_: Reaction(delay=0.01) if next(counter) < 12 else how  # noqa: E731
    with teacher(turning) as bad, teacher(lambda *_: Reaction(delay=0.01)) as good:
        outcomes = ask_all(settings(bad.url, good.url, request_timeout_seconds=3600), requests(100))
    assert answers(outcomes) == 100
    assert bad.requests < 40


def test_an_endpoint_that_comes_back_is_asked_again() -> None:
    port = unused_port()
    came_back = threading.Event()
    with ExitStack() as stack:
        back: list[ScriptedTeacher] = []

        def script(_question: str, _before: int) -> Reaction:
            if good.requests == 30:
                threading.Thread(target=lambda: back.append(stack.enter_context(teacher(port=port)))).start()
            if back and back[0].requests:
                came_back.set()
            return Reaction(delay=0.01)

        good = stack.enter_context(teacher(script))
        unending = itertools.takewhile(lambda _: not came_back.is_set(), requests(10**6))
        outcomes = ask_all(settings(f"http://127.0.0.1:{port}/v1", good.url), unending)
        assert answers(outcomes) == len(outcomes)
        assert back[0].requests > 0


def test_one_that_does_not_serve_the_model_is_named_though_another_does() -> None:
    with teacher(lambda *_: Reaction(delay=0.05)) as good, teacher() as other:
        other.served = other.listed = ["gpt"]
        with pytest.raises(WrongInput, match=f"{other.url} does not serve 'scripted'; it serves gpt"):
            ask_all(settings(good.url, other.url), requests(100))


def test_a_teacher_that_cannot_answer_the_trivial_question_is_asked_all_the_same() -> None:
    with teacher(lambda question, _: Reaction(500 if question == TRIVIAL_QUESTION else 200)) as server:
        assert answers(ask_all(settings(server.url), requests(40))) == 40


def test_an_endpoint_that_hangs_from_the_first_is_given_up_in_minutes_not_hours() -> None:
    with teacher(lambda *_: HANGS) as server:
        only = settings(server.url, request_timeout_seconds=3600, unavailable_timeout_seconds=0.5)
        with pytest.raises(Retryable, match=f"answered for 0 s: {server.url} has not answered yet, for 1 s now"):
            ask_all(only, requests(10))


def test_endpoints_are_checked_together_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_CHECK_SECONDS", 0.2)
    with ExitStack() as stack:
        hanging = [stack.enter_context(teacher(lambda *_: HANGS)) for _ in range(3)]
        for server in hanging:
            server.listed = None
        check(settings(*(server.url for server in hanging), request_timeout_seconds=3600))
    assert [server.probes for server in hanging] == [1, 1, 1]


ALWAYS = {"500": (Reaction(500), "serverError"), "429": (Reaction(429), "throttled"), "no text": (
    Reaction(message={"content": 7}), "invalidResponse")}  # fmt: skip


@pytest.mark.parametrize(("how", "reason"), ALWAYS.values(), ids=ALWAYS.keys())
@pytest.mark.parametrize("number", [30, 2])
def test_requests_that_always_fail_are_failures_of_their_own(how: Reaction, reason: str, number: int) -> None:
    script = lambda question, _: how if question in ("q0", "q1") else Reaction()  # noqa: E731
    with teacher(script) as server:
        outcomes = ask_all(settings(server.url, unavailable_timeout_seconds=30), requests(number))
    failures = [outcomes.pop("q0"), outcomes.pop("q1")]
    assert [failure.reason for failure in failures if isinstance(failure, Failure)] == [reason] * 2
    assert answers(outcomes) == len(outcomes) == number - 2
    assert max(server.asked["q0"], server.asked["q1"]) < 15


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_teacher_that_begins_to_refuse_everything_stops_the_run_and_has_nothing_written_off(status: int) -> None:
    outcomes: list[Outcome] = []
    counter = itertools.count()
    message = f"each of the last 20 requests failed, .* answers {status}"
    begins_to_refuse = lambda *_: Reaction(200 if next(counter) < 50 else status)  # noqa: E731
    with teacher(begins_to_refuse) as server, pytest.raises(Retryable, match=message) as error:
        ask_all(settings(server.url), requests(1000), outcomes)
    assert error.value.reason == "EndpointRefuses"
    assert len(outcomes) >= 40
    assert all(isinstance(outcome, Answer) for outcome in outcomes)


def test_many_requests_in_a_row_that_are_too_long_are_refusals_of_their_own() -> None:
    script = lambda question, _: Reaction(400 if len(question) == 3 else 200)  # noqa: E731 - q10 to q99
    with teacher(script) as server:
        outcomes = ask_all(settings(server.url), requests(120))
    assert answers(outcomes) == 30
    assert server.asked[TRIVIAL_QUESTION] == 4


def test_what_one_endpoint_refuses_another_is_asked() -> None:
    with teacher(lambda question, _: Reaction(400 if question.endswith("7") else 200)) as short, teacher() as long:
        outcomes = ask_all(settings(short.url, long.url), requests(100))
    assert answers(outcomes) == 100


def test_what_one_endpoint_refuses_another_is_asked_that_is_slow_to_be_heard_of() -> None:
    slow_at_first = lambda question, _: Reaction(delay=0.5 if question == TRIVIAL_QUESTION else 0.0)  # noqa: E731
    with teacher(lambda *_: Reaction(400)) as short, teacher(slow_at_first) as long:
        assert answers(ask_all(settings(short.url, long.url), requests(10))) == 10


def test_what_is_refused_waits_for_no_endpoint_that_is_dead() -> None:
    with teacher(lambda *_: Reaction(400)) as short, pytest.raises(WrongInput, match="each of the first 10"):
        ask_all(settings(short.url, dead()), requests(10))


def test_what_all_endpoints_refuse_is_refused() -> None:
    script = lambda question, _: Reaction(400 if question.endswith("7") else 200)  # noqa: E731
    with teacher(script) as one, teacher(script) as other:
        outcomes = ask_all(settings(one.url, other.url), requests(100))
        assert answers(outcomes) == 90
        assert (one.asked["q7"], other.asked["q7"]) == (1, 1)

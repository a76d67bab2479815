import itertools
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from support.asking import ask_all, check, requests, settings
from support.ports import unused_port
from support.scripted_teacher import Reaction, ScriptedTeacher, teacher

from distill_runtime.client.ask import Client
from distill_runtime.client.probes import TRIVIAL_QUESTION
from distill_runtime.client.values import Answer, Failure, Outcome, chat_body
from distill_runtime.foundation.errors import Retryable, WrongInput
from distill_runtime.process import event_loop

pytestmark = pytest.mark.usefixtures("short_waits")


def test_everything_is_asked_once_and_answered() -> None:
    with teacher() as server:
        outcomes = ask_all(settings(server.url), requests(100))
    assert len(outcomes) == 100
    assert server.asked == {f"q{index}": 1 for index in range(100)}
    answer = outcomes["q7"]
    assert isinstance(answer, Answer)
    assert (answer.reply.content, answer.reply.reasoning, answer.reply.finish_reason) == ("re: q7", "I think.", "stop")
    assert (answer.reply.prompt_tokens, answer.reply.completion_tokens, answer.attempts) == (3, 7, 1)


def test_the_body_is_openais() -> None:
    body = chat_body("m", system_prompt="s", user_prompt="u", max_tokens=5, temperature=0.0, top_p=1.0, seed=3)
    assert body == {
        "model": "m",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
        "max_tokens": 5,
        "temperature": 0.0,
        "top_p": 1.0,
        "seed": 3,
    }


def test_the_number_in_flight_is_the_one_configured() -> None:
    with teacher(lambda _question, _before: Reaction(delay=0.02)) as server:
        ask_all(settings(server.url, max_concurrent_requests=8), requests(60))
    assert server.most_in_flight == 8


def test_the_key_is_sent_and_never_shown() -> None:
    refusal = {"error": {"message": "bad key sk-secret"}}
    with teacher(lambda _question, _before: Reaction(401, refusal)) as server:
        configured = settings(server.url, api_key="sk-secret")
        with pytest.raises(WrongInput, match=r"answers 401: bad key \*\*\*; correct the endpoint") as error:
            ask_all(configured, requests(1))
    assert error.value.reason == "EndpointMisconfigured"
    assert server.headers[0]["Authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in repr(configured)


@pytest.mark.parametrize(
    ("message", "content", "reasoning"),
    [
        ({"content": "c", "reasoning_content": "r"}, "c", "r"),
        ({"content": "c", "reasoning": "r"}, "c", "r"),
        ({"content": "c"}, "c", None),
        ({"content": None, "reasoning_content": "r"}, "", "r"),
        ({"content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]}, "cd", None),
    ],
)
def test_reasoning_is_kept_under_either_name(message: dict[str, Any], content: str, reasoning: str | None) -> None:
    with teacher(lambda _question, _before: Reaction(message=message)) as server:
        answer = ask_all(settings(server.url), requests(1))["q0"]
    assert isinstance(answer, Answer)
    assert (answer.reply.content, answer.reply.reasoning) == (content, reasoning)


@pytest.mark.parametrize(("given", "kept"), [("length", "length"), (None, "unknown"), ('a"b', "unknown")])
def test_the_finish_reason_is_kept(given: str | None, kept: str) -> None:
    with teacher(lambda _question, _before: Reaction(finish_reason=given)) as server:
        answer = ask_all(settings(server.url), requests(1))["q0"]
    assert isinstance(answer, Answer)
    assert answer.reply.finish_reason == kept


def assert_tried_again(outcomes: dict[str, Outcome], server: ScriptedTeacher) -> None:
    for question, outcome in outcomes.items():
        assert isinstance(outcome, Answer)
        assert outcome.attempts == server.asked[question] >= 2


@pytest.mark.parametrize(
    "trouble",
    [
        Reaction(429),
        Reaction(500),
        Reaction(503, headers={"Retry-After": "0.05"}),
        Reaction(disconnect=True),
        Reaction(body={"choices": []}),
        Reaction(body="<html>"),
        Reaction(delay=60),
    ],
    ids=["429", "500", "503", "disconnect", "no choices", "html", "stall"],
)
def test_what_may_pass_is_tried_again(trouble: Reaction) -> None:
    with teacher(lambda _question, before: Reaction() if before else trouble) as server:
        outcomes = ask_all(settings(server.url, request_timeout_seconds=0.5), requests(4))
    assert_tried_again(outcomes, server)


def test_retry_after_is_honoured() -> None:
    asked: list[float] = []

    def script(question: str, before: int) -> Reaction:
        if question != TRIVIAL_QUESTION:
            asked.append(time.monotonic())
        return Reaction() if before or question == TRIVIAL_QUESTION else Reaction(429, headers={"Retry-After": "1"})

    with teacher(script) as server:
        ask_all(settings(server.url), requests(1))
    assert 1.0 <= asked[1] - asked[0] < 2.0


def test_a_refused_request_fails_alone_with_the_servers_words() -> None:
    with teacher(lambda question, _before: Reaction(400 if question == "q3" else 200)) as server:
        outcomes = ask_all(settings(server.url), requests(10))
    failure = outcomes.pop("q3")
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.message) == ("refused", f"{server.url} answers 400: scripted")
    assert server.asked["q3"] == 1
    assert all(isinstance(outcome, Answer) for outcome in outcomes.values())


@pytest.mark.parametrize("number", [1000, 3], ids=["many requests", "few requests"])
def test_parameters_that_are_always_refused_stop_the_run_and_nothing_is_settled(number: int) -> None:
    outcomes: list[Outcome] = []
    message = rf"each of the first {min(number, 20)} requests failed, .* answers 400: scripted, and a trivial one"
    with teacher(lambda *_: Reaction(400)) as server, pytest.raises(WrongInput, match=message) as error:
        ask_all(settings(server.url), requests(number), outcomes)
    assert error.value.reason == "EndpointRefuses"
    assert outcomes == []
    assert server.requests < 100  # of a thousand; how many more are under way is the trivial question's time


def test_refusals_before_the_first_answer_stop_nothing_however_many_are_asked_at_once() -> None:
    def script(question: str, _before: int) -> Reaction:
        return Reaction(400) if question.endswith(("0", "3", "6")) else Reaction(delay=0.3)

    with teacher(script) as server:
        outcomes = ask_all(settings(server.url, max_concurrent_requests=60), requests(90))
    assert sum(isinstance(outcome, Failure) for outcome in outcomes.values()) == 27


def test_when_all_are_refused_a_trivial_question_with_the_same_parameters_tells_whose_fault_it_is() -> None:
    with teacher(lambda question, _before: Reaction(400 if question.startswith("q") else 200)) as server:
        outcomes = ask_all(settings(server.url), requests(3))
    assert [isinstance(outcome, Failure) for outcome in outcomes.values()] == [True] * 3
    assert server.bodies[-1] == {**server.bodies[0], "messages": [{"role": "user", "content": "What is 1 + 1?"}]}


def test_a_request_that_always_fails_is_given_up_while_others_are_answered() -> None:
    def script(question: str, _before: int) -> Reaction:
        return Reaction(500) if question == "q0" else Reaction(delay=0.01)

    with teacher(script) as server:
        outcomes = ask_all(settings(server.url, max_attempts=3), requests(100))
    failure = outcomes.pop("q0")
    assert isinstance(failure, Failure)
    assert failure.reason == "serverError"
    assert 3 <= failure.attempts == server.asked["q0"] <= 6
    assert all(isinstance(outcome, Answer) for outcome in outcomes.values())


def test_a_last_request_that_always_fails_is_given_up_if_the_teacher_answers_a_trivial_one() -> None:
    with teacher(lambda question, _before: Reaction(500 if question == "q0" else 200)) as server:
        outcomes = ask_all(settings(server.url, max_attempts=3), requests(1))
    assert isinstance(outcomes["q0"], Failure)
    assert server.asked == {"q0": 4, TRIVIAL_QUESTION: 1}  # the last one with the same parameters


def test_no_request_is_given_up_during_an_outage() -> None:
    begun: list[float] = []

    def script(_question: str, _before: int) -> Reaction:
        begun.append(time.monotonic())
        return Reaction(503 if begun[-1] - begun[0] < 1.0 else 200)

    with teacher(script) as server:
        outcomes = ask_all(settings(server.url, max_attempts=1, unavailable_timeout_seconds=30), requests(20))
    assert all(isinstance(outcome, Answer) for outcome in outcomes.values())


def test_a_teacher_that_stays_away_ends_the_run_with_what_it_does() -> None:
    url = f"http://127.0.0.1:{unused_port()}/v1"
    with pytest.raises(Retryable, match=f"no endpoint has answered for 1 s: {url} refuses connections") as error:
        ask_all(settings(url, unavailable_timeout_seconds=1), requests(5))
    assert error.value.reason == "EndpointUnreachable"


def test_a_host_that_does_not_exist_is_named() -> None:
    with pytest.raises(Retryable, match="has a host name that is not found"):
        ask_all(settings("http://nowhere.invalid/v1", unavailable_timeout_seconds=0.3), requests(1))


def test_one_failing_endpoint_does_not_stop_the_run() -> None:
    with teacher() as good, teacher(lambda _question, _before: Reaction(500)) as bad:
        dead = f"http://127.0.0.1:{unused_port()}/v1"
        outcomes = ask_all(settings(dead, bad.url, good.url, max_attempts=10), requests(200))
    assert len(outcomes) == 200
    assert all(isinstance(outcome, Answer) for outcome in outcomes.values())
    assert bad.requests < 60


def test_endpoints_share_the_work() -> None:
    with teacher(lambda *_: Reaction(delay=0.01)) as first, teacher(lambda *_: Reaction(delay=0.01)) as second:
        ask_all(settings(first.url, second.url), requests(100))
    assert min(first.requests, second.requests) > 20


def test_a_slower_endpoint_gets_less() -> None:
    with teacher(lambda *_: Reaction(delay=1.0)) as slow, teacher(lambda *_: Reaction(delay=0.005)) as fast:
        ask_all(settings(slow.url, fast.url), requests(150))
    assert fast.requests > 3 * slow.requests


def test_an_endpoint_that_has_answered_may_lose_its_model_for_a_while() -> None:
    counter = itertools.count()
    with teacher(lambda *_: Reaction(404 if 10 <= next(counter) < 14 else 200)) as server:
        outcomes = ask_all(settings(server.url), requests(50))
    assert all(isinstance(outcome, Answer) for outcome in outcomes.values())


def test_faults_at_the_rates_of_a_bad_day_lose_nothing_and_cost_little() -> None:
    counter = itertools.count()
    kinds = Counter[str]()

    def script(_question: str, _before: int) -> Reaction:
        number = next(counter) % 100
        kind = "503" if number % 10 == 0 else "429" if number % 20 == 1 else {2: "stall", 3: "cut"}.get(number, "ok")
        kinds[kind] += 1
        match kind:
            case "503" | "429":
                return Reaction(int(kind))
            case "stall":
                return Reaction(delay=60)
            case "cut":
                return Reaction(disconnect=True)
        return Reaction()

    with teacher(script) as server:
        outcomes = ask_all(
            settings(
                server.url,
                max_concurrent_requests=50,
                request_timeout_seconds=3.0,
                max_attempts=10,
                unavailable_timeout_seconds=30,
            ),
            requests(1000),
        )
    assert sum(isinstance(outcome, Answer) for outcome in outcomes.values()) == 1000
    assert set(kinds) == {"503", "429", "stall", "cut", "ok"}
    assert server.requests <= 1250


def test_a_model_that_is_not_served_is_named_with_those_that_are() -> None:
    with teacher() as server:
        server.served = server.listed = ["a", "b"]
        with pytest.raises(WrongInput, match=f"{server.url} does not serve 'scripted'; it serves a, b"):
            check(settings(server.url))


@pytest.mark.parametrize("listed", [None, [], ["another"]])
def test_a_model_that_answers_passes_whatever_the_list_says(listed: list[str] | None) -> None:
    with teacher() as server:
        server.listed = listed
        check(settings(server.url))
    assert server.probes == 1


@pytest.mark.parametrize("listed", [None, []])
def test_a_server_without_a_list_that_does_not_answer_for_the_model_is_misconfigured(listed: list[str] | None) -> None:
    with teacher() as server:
        server.served, server.listed = ["a"], listed
        with pytest.raises(WrongInput, match="answers 404: no such model; correct the endpoint, the model's name"):
            check(settings(server.url))


def test_endpoints_that_serve_the_model_pass_and_dead_ones_may_come_back(server_url: str) -> None:
    check(settings(server_url, f"http://127.0.0.1:{unused_port()}/v1"))


@pytest.fixture
def server_url() -> Iterator[str]:
    with teacher() as server:
        yield server.url


def test_an_error_in_what_takes_the_outcomes_comes_out() -> None:
    def take(_outcome: Outcome) -> None:
        raise OSError(28, "No space left on device")

    async def work(server: ScriptedTeacher) -> None:
        async with Client(settings(server.url)) as client:
            await client.ask_all(requests(10), take)

    with teacher() as server, pytest.raises(OSError, match="No space left"):
        event_loop.run(work(server))


def test_a_streamed_answer_is_the_same_answer() -> None:
    with teacher() as server:
        whole = ask_all(settings(server.url), requests(5))
        streamed = ask_all(settings(server.url, stall_timeout_seconds=5.0), requests(5))
    assert {question: outcome.reply for question, outcome in whole.items() if isinstance(outcome, Answer)} == {
        question: outcome.reply for question, outcome in streamed.items() if isinstance(outcome, Answer)
    }
    assert server.bodies[-1]["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("trouble", [Reaction(stall_after=6), Reaction(cut_after=6), Reaction(503)])
def test_a_stream_that_stalls_or_breaks_is_asked_for_again(trouble: Reaction) -> None:
    with teacher(lambda _question, before: Reaction() if before else trouble) as server:
        outcomes = ask_all(settings(server.url, stall_timeout_seconds=0.3), requests(4))
    assert_tried_again(outcomes, server)

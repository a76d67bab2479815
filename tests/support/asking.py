"""Asking scripted teachers."""

from collections.abc import Iterator
from typing import Any

from support.scripted_teacher import MODEL

from distill_runtime.client.ask import Client, ClientSettings
from distill_runtime.client.values import Outcome, Request, chat_body, request_key
from distill_runtime.process import event_loop


def settings(*urls: str, **changes: Any) -> ClientSettings:
    values: dict[str, Any] = {
        "endpoints": urls,
        "model": MODEL,
        "api_key": None,
        "max_concurrent_requests": 8,
        "request_timeout_seconds": 5.0,
        "max_attempts": 3,
        "unavailable_timeout_seconds": 5.0,
    }
    return ClientSettings(**(values | changes))


def request(question: str) -> Request:
    body = chat_body(
        MODEL, system_prompt="", user_prompt=question, max_tokens=16, temperature=0.5, top_p=0.9, seed=None
    )
    return Request(request_key(question, 0), body, {"question": question})


def requests(number: int) -> Iterator[Request]:
    return (request(f"q{index}") for index in range(number))


def ask_all(
    settings: ClientSettings, requests: Iterator[Request], outcomes: list[Outcome] | None = None
) -> dict[str, Outcome]:
    outcomes = [] if outcomes is None else outcomes

    async def work() -> None:
        async with Client(settings) as client:
            await client.ask_all(requests, outcomes.append)

    event_loop.run(work())
    by_question = {outcome.request.record["question"]: outcome for outcome in outcomes}
    assert len(by_question) == len(outcomes)
    return by_question


def check(settings: ClientSettings) -> None:
    async def work() -> None:
        async with Client(settings) as client:
            await client.check_endpoints()

    event_loop.run(work())

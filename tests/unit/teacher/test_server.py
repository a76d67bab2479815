from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from rules import Addition, Faults, Outcome, choose_outcome, choose_refusal, work_out
from server import MODEL, Teacher

FAULTS = Faults(wrong=0.2, truncated=0.1, too_many_requests=0.1, unavailable=0.1)
SEED = 7


@pytest.fixture
async def client() -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(Teacher(FAULTS, SEED, latency_seconds=0).application())) as client:
        yield client


def body(addition: Addition, seed: int = 0) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": addition.problem}], "seed": seed}


async def ask(client: TestClient[Any, Any], request: dict[str, Any]) -> tuple[int, Any]:
    async with client.post("/v1/chat/completions", json=request) as response:
        return response.status, await response.json()


async def ask_until_answered(client: TestClient[Any, Any], request: dict[str, Any]) -> Any:
    while True:
        status, answer = await ask(client, request)
        if status == 200:
            return answer


async def test_answers_are_the_ones_that_the_rules_give(client: TestClient[Any, Any]) -> None:
    additions = [Addition(first, 58) for first in range(10, 100)]
    for addition in additions:
        choice = (await ask_until_answered(client, body(addition, seed=3)))["choices"][0]
        expected = work_out(addition, choose_outcome(FAULTS, SEED, addition, 3), 1024)
        assert choice["message"]["reasoning_content"] == expected.reasoning
        assert choice["message"]["content"] == expected.content
        assert choice["finish_reason"] == expected.finish_reason


async def test_statistics_are_what_the_rules_inject(client: TestClient[Any, Any]) -> None:
    additions = [Addition(first, 42) for first in range(10, 100)]
    refused: Counter[str] = Counter()
    for addition in additions:
        await ask_until_answered(client, body(addition))
        attempt = 0
        while status := choose_refusal(FAULTS, SEED, addition, 0, attempt):
            refused[str(status.value)] += 1
            attempt += 1
    outcomes = Counter(choose_outcome(FAULTS, SEED, addition, 0) for addition in additions)
    async with client.get("/stats") as response:
        statistics = await response.json()
    assert statistics == {"answered": {outcome.value: outcomes[outcome] for outcome in Outcome}, "refused": refused}
    assert min(refused.values()) > 0


async def test_a_refusal_says_when_to_ask_again(client: TestClient[Any, Any]) -> None:
    refused = next(
        addition
        for addition in (Addition(first, 42) for first in range(10, 100))
        if choose_refusal(FAULTS, SEED, addition, 0, attempt=0) == 429
    )
    async with client.post("/v1/chat/completions", json=body(refused)) as response:
        assert response.status == 429
        assert response.headers["Retry-After"] == "1"


async def test_usage_counts_prompt_and_answer(client: TestClient[Any, Any]) -> None:
    usage = (await ask_until_answered(client, body(Addition(12, 34)) | {"max_tokens": 5}))["usage"]
    assert usage == {"prompt_tokens": 6, "completion_tokens": 5, "total_tokens": 11}


async def test_models_lists_the_one_model(client: TestClient[Any, Any]) -> None:
    async with client.get("/v1/models") as response:
        assert [model["id"] for model in (await response.json())["data"]] == [MODEL]


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"model": "gpt-4"}, 404, "The model `gpt-4` does not exist"),
        ({"messages": [{"role": "user", "content": "What is 2 + 2?"}]}, 400, "What is 12 + 34?"),
        ({"messages": [{"role": "system", "content": "What is 22 + 22?"}]}, 400, "two-digit additions only"),
        ({"messages": "What is 22 + 22?"}, 400, "not a chat completions request"),
        ({"max_tokens": "many"}, 400, "not a chat completions request"),
        ({"stream": True}, 400, "does not stream"),
        ({"n": 2}, 400, "one answer a request"),
    ],
)
async def test_what_is_not_served_is_refused(
    client: TestClient[Any, Any], change: dict[str, Any], status: int, message: str
) -> None:
    answer_status, answer = await ask(client, body(Addition(22, 22)) | change)
    assert answer_status == status
    assert message in answer["error"]["message"]

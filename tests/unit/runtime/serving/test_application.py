"""The HTTP side, in OpenAI's terms."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import numpy as np
import pytest
from aiohttp import web

from distill_runtime.serving.application import ChatApplication, make_runner
from distill_runtime.serving.batching import Batcher


class Letters:
    """Each character is a token; the model's answer to anything is `ok`, then the end."""

    batch_size = 4
    max_tokens = 40

    def next_logits(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        logits = np.zeros((len(sequences), 128), np.float32)
        for row, sequence in enumerate(sequences):
            logits[row, {ord("o"): ord("k"), ord("k"): 0}.get(sequence[-1], ord("o"))] = 9
        return logits

    def encode(self, messages: Sequence[dict[str, str]]) -> list[int]:
        return [ord(letter) for message in messages for letter in message["content"]]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, tokens))


@asynccontextmanager
async def served(letters: Letters) -> AsyncIterator[aiohttp.ClientSession]:
    batcher = Batcher(letters, frozenset({0}))
    batcher.start()
    runner = make_runner(ChatApplication(batcher, letters, "student", letters.max_tokens))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as client:
            yield client
    finally:
        await runner.cleanup()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with served(Letters()) as client:
        yield client


def chat(**changes: object) -> dict[str, object]:
    return {"model": "student", "messages": [{"role": "user", "content": "12?"}], "temperature": 0} | changes


async def test_an_answer(client: aiohttp.ClientSession) -> None:
    response = await client.post("/v1/chat/completions", json=chat())
    body = await response.json()
    assert response.status == 200
    assert body["choices"] == [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}]
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    assert (body["object"], body["model"]) == ("chat.completion", "student")


async def test_an_answer_that_is_cut_off(client: aiohttp.ClientSession) -> None:
    body = await (await client.post("/v1/chat/completions", json=chat(max_tokens=1))).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["choices"][0]["message"]["content"] == "o"


async def test_a_request_that_is_given_up_frees_its_row() -> None:
    class Endless(Letters):
        """Never stops by itself; a minute for a whole answer, in the one row that there is."""

        batch_size = 1
        max_tokens = 6000

        def next_logits(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
            time.sleep(0.01)
            logits = np.zeros((len(sequences), 128), np.float32)
            logits[:, ord("o")] = 9
            return logits

    async with served(Endless()) as client:
        impatient = aiohttp.ClientTimeout(total=0.3)
        with pytest.raises(TimeoutError):
            await client.post("/v1/chat/completions", json=chat(max_tokens=6000), timeout=impatient)
        started = time.monotonic()
        body = await (await client.post("/v1/chat/completions", json=chat(max_tokens=2))).json()
        assert body["choices"][0]["message"]["content"] == "oo"
        assert time.monotonic() - started < 20


async def test_what_it_serves(client: aiohttp.ClientSession) -> None:
    assert [model["id"] for model in (await (await client.get("/v1/models")).json())["data"]] == ["student"]
    assert (await client.get("/health")).status == 200


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"model": "teacher"}, 404, "'teacher' is not served here, but 'student'"),
        ({"messages": []}, 400, "messages"),
        ({"stream": True}, 400, "stream"),
        ({"logit_bias": {}}, 400, "logit_bias"),
        ({"messages": [{"role": "user", "content": "x" * 40}]}, 400, "the prompt has 40 tokens"),
    ],
)
async def test_what_it_does_not_understand_it_refuses(
    client: aiohttp.ClientSession, changes: dict[str, object], status: int, said: str
) -> None:
    response = await client.post("/v1/chat/completions", json=chat(**changes))
    assert response.status == status
    assert said in (await response.json())["error"]["message"]

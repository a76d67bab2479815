"""A chat server on loopback that does what a test tells it, request by request, and remembers what it was asked."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from distill_runtime.client.probes import TRIVIAL_QUESTION

MODEL = "scripted"


@dataclass(frozen=True)
class Reaction:
    """What the server does with one request.

    Attributes:
        status: of the response, if there is one.
        body: of the response; None for a chat completion that repeats the question.
        delay: seconds before it.
        disconnect: break the connection off instead.
        usage: how many tokens it says it used; None if it does not say.
        stall_after, cut_after: events of a stream after which nothing more comes, or the connection breaks.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    disconnect: bool = False
    message: dict[str, Any] = field(default_factory=dict)
    finish_reason: str | None = "stop"
    usage: dict[str, int] | None = field(default_factory=lambda: {"prompt_tokens": 3, "completion_tokens": 7})
    stall_after: int | None = None
    cut_after: int | None = None


Script = Callable[[str, int], Reaction]
"""Gives the reaction to a question, and how often it was asked before."""


def answer_everything(_question: str, _asked_before: int) -> Reaction:
    return Reaction()


class ScriptedTeacher:
    """One server.

    Attributes:
        asked: counts the requests for each question.
        bodies: of all requests.
        probes: trivial questions that were to find out whether it answers; they are in neither of these.
        headers: of all requests, those too.
        served: models that it answers for; others get 404.
        listed: models that it says it has; None if it has no list.
        roots: what it says that they were loaded from, if it does.
        created: what it says that they are since.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: Counter[str] = Counter()
        self.probes = 0
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.served = [MODEL]
        self.listed: list[str] | None = [MODEL]
        self.roots: dict[str, str] = {}
        self.created = 1_700_000_000
        self.url = ""

    @property
    def requests(self) -> int:
        return self.asked.total()

    async def _chat_completions(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._react(request)
        finally:
            self.in_flight -= 1

    async def _react(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body["model"] not in self.served:
            return web.json_response({"error": {"message": "no such model"}}, status=404)
        question = body["messages"][-1]["content"]
        is_probe = (question, body["max_tokens"]) == (TRIVIAL_QUESTION, 1)
        reaction = self.script(question, self.probes if is_probe else self.asked[question])
        if is_probe:
            self.probes += 1
        else:
            self.asked[question] += 1
            self.bodies.append(body)
        self.headers.append(dict(request.headers))
        if reaction.delay:
            await asyncio.sleep(reaction.delay)
        if reaction.disconnect:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if reaction.body is not None:
            return web.json_response(reaction.body, status=reaction.status, headers=reaction.headers)
        if reaction.status != 200:
            error = {"error": {"message": "scripted"}}
            return web.json_response(error, status=reaction.status, headers=reaction.headers)
        if body.get("stream"):
            return await self._stream(request, completion(question, reaction), reaction)
        return web.json_response(completion(question, reaction))

    async def _stream(self, request: web.Request, whole: dict[str, Any], reaction: Reaction) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, event in enumerate(events(whole)):
            if number == reaction.stall_after:
                await asyncio.sleep(60)
            if number == reaction.cut_after:
                assert request.transport is not None
                request.transport.abort()
                return response
            await response.write(event)
        return response

    async def _models(self, _request: web.Request) -> web.Response:
        if self.listed is None:
            return web.Response(status=404)
        return web.json_response({"data": [self._card(model) for model in self.listed]})

    def _card(self, model: str) -> dict[str, Any]:
        root = {"root": self.roots[model]} if model in self.roots else {}
        return {"id": model, "object": "model", "created": self.created, **root}

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/v1/chat/completions", self._chat_completions)
        application.router.add_get("/v1/models", self._models)
        return application


def completion(question: str, reaction: Reaction) -> dict[str, Any]:
    message = reaction.message or {"role": "assistant", "reasoning_content": "I think.", "content": f"re: {question}"}
    return {
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": reaction.finish_reason}],
        "usage": reaction.usage,
    }


def events(whole: dict[str, Any]) -> Iterator[bytes]:
    """Give a completion as vLLM streams it, a character at a time."""
    choice, head = whole["choices"][0], {"model": whole["model"]}

    def event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        chunk = {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    yield event({"role": "assistant", "content": ""})
    for name in ("reasoning_content", "reasoning", "content"):
        for character in choice["message"].get(name) or "":
            yield event({name: character})
    yield event({}, choice["finish_reason"])
    yield b"data: " + json.dumps({**head, "choices": [], "usage": whole["usage"]}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


@contextmanager
def teacher(script: Script = answer_everything, port: int = 0) -> Iterator[ScriptedTeacher]:
    """Serve in a thread of its own, so that what is tested may block or run a loop as it does for real."""
    server = ScriptedTeacher(script)
    ready = threading.Event()
    stop = threading.Event()

    async def serve() -> None:
        runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        ready.set()
        while not stop.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.01)
        await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield server
    finally:
        stop.set()
        thread.join(10)

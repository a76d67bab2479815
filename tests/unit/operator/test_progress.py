"""Following stage Pods for their progress, against a real server on loopback."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web
from unit.operator.builders import job, key, pod, progress

from distill_operator import progress as progress_module
from distill_operator.observation import ResourceKey
from distill_operator.progress import MOST_BYTES, ProgressPoller

KEY = key("DistillDataset")
POD = pod(job(), phase="Running", ip="127.0.0.1")
OTHER_ADDRESS = replace(POD, name="other", ip="127.0.0.2")  # nothing listens there
FREQUENT, RARE = 0.01, 3600.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Start = Callable[[Handler], Awaitable[None]]


@pytest.fixture
async def serve(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Serve /progress on 127.0.0.1, at a free port in place of the Pods' fixed one."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> None:
        application = web.Application()
        application.router.add_get("/progress", handler)
        runners.append(web.AppRunner(application, shutdown_timeout=0.1))
        await runners[0].setup()
        await web.TCPSite(runners[0], "127.0.0.1", 0).start()
        monkeypatch.setattr(progress_module, "PROGRESS_PORT", runners[0].addresses[0][1])

    yield start
    for runner in runners:
        await runner.cleanup()


@asynccontextmanager
async def following(interval: float) -> AsyncIterator[tuple[ProgressPoller, list[ResourceKey]]]:
    answered: list[ResourceKey] = []
    async with ProgressPoller(interval, answered.append) as poller:
        yield poller, answered


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not happened():  # noqa: ASYNC110 - what is waited for is seen from outside only
            await asyncio.sleep(0.001)


class Counting:
    """Answers with the number of times it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response(progress(self.asked, 10).to_json())


async def test_says_whose_pod_has_answered_and_what(serve: Start) -> None:
    await serve(Counting().answer)
    async with following(RARE) as (poller, answered):
        assert poller.follow(KEY, [POD]) == {}
        await until(lambda: bool(answered))
        assert answered == [KEY]
        assert poller.follow(KEY, [POD]) == {POD.name: progress(1, 10)}


async def test_asks_again_when_the_interval_is_over_however_often_it_is_looked_at(serve: Start) -> None:
    server = Counting()
    await serve(server.answer)
    async with following(FREQUENT) as (poller, _):
        poller.follow(KEY, [POD])
        await until(lambda: server.asked >= 3)
    server.asked = 0
    async with following(RARE) as (poller, answered):
        poller.follow(KEY, [POD])
        await until(lambda: bool(answered))
        for _ in range(20):
            poller.follow(KEY, [POD])
            await asyncio.sleep(0)
    assert server.asked == 1


async def nonsense(_: web.Request) -> web.Response:
    return web.Response(text="<html>")


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * MOST_BYTES)


async def long_but_right(_: web.Request) -> web.Response:
    return web.json_response(progress(1, message="x" * MOST_BYTES).to_json())


async def packed(_: web.Request) -> web.Response:
    text = b" " * 50_000_000 + b"{}"
    return web.Response(body=gzip.compress(text), headers={"Content-Encoding": "gzip"})


async def silent(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def unavailable(_: web.Request) -> web.Response:
    return web.json_response(progress(1).to_json(), status=503)


@pytest.mark.parametrize("handler", [nonsense, endless, long_but_right, packed, silent, unavailable])
async def test_whatever_else_a_pod_answers_is_nothing(
    handler: Handler, serve: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "FIRST_PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(progress_module, "ANSWER_SECONDS", 0.2)
    asked = 0

    async def counting(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return await handler(request)

    await serve(counting)
    async with following(RARE) as (poller, answered):
        poller.follow(KEY, [POD])
        await until(lambda: asked >= 2)
        assert poller.follow(KEY, [POD]) == {}
    assert answered == []


async def test_follows_no_redirection(serve: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "FIRST_PATIENCE_SECONDS", 0.01)
    paths = []

    async def redirect(request: web.Request) -> web.Response:
        paths.append(request.path_qs)
        raise web.HTTPFound("/progress?elsewhere")

    await serve(redirect)
    async with following(RARE) as (poller, _):
        poller.follow(KEY, [POD])
        await until(lambda: len(paths) >= 3)
    assert set(paths) == {"/progress"}


async def test_a_pod_that_stops_answering_keeps_its_last_word(serve: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "FIRST_PATIENCE_SECONDS", 0.01)
    server, asked = Counting(), 0

    async def once(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        if server.asked:
            raise web.HTTPServiceUnavailable
        return await server.answer(request)

    await serve(once)
    async with following(FREQUENT) as (poller, _):
        poller.follow(KEY, [POD])
        await until(lambda: asked >= 3)
        assert poller.follow(KEY, [POD]) == {POD.name: progress(1, 10)}


async def test_one_pod_s_silence_does_not_hide_another(serve: Start) -> None:
    await serve(Counting().answer)
    async with following(RARE) as (poller, answered):
        poller.follow(KEY, [OTHER_ADDRESS, POD])
        await until(lambda: bool(answered))
        assert set(poller.follow(KEY, [OTHER_ADDRESS, POD])) == {POD.name}


async def test_a_pod_that_never_answers_is_asked_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    async with following(RARE) as (poller, _):
        monkeypatch.setattr(progress_module.asyncio, "sleep", note)
        poller.follow(KEY, [OTHER_ADDRESS])
        async with asyncio.timeout(60):
            while len(pauses) < 10:
                await sleep(0.001)
    assert pauses[:10] == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


async def test_asks_no_pod_any_more_that_is_gone(serve: Start) -> None:
    server = Counting()
    await serve(server.answer)
    async with following(FREQUENT) as (poller, answered):
        poller.follow(KEY, [POD])
        await until(lambda: bool(answered))
        assert poller.follow(KEY, []) == {}
        asked = server.asked
        for _ in range(20):
            await asyncio.sleep(FREQUENT)
        assert server.asked <= asked + 1  # one may have been under way
        poller.forget(KEY)
        assert poller.follow(KEY, [POD]) == {}

"""Asking stage Pods for their progress, against a real server on loopback."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web
from unit.operator.builders import NOW, job, key, pod, progress

from distill_operator import progress as progress_module
from distill_operator.observation import PodView
from distill_operator.progress import FIRST_ANSWER_SECONDS, ProgressPoller

KEY = key("DistillDataset")
POD = pod(job(), phase="Running", ip="127.0.0.1")
OTHER_ADDRESS = replace(POD, name="other", ip="127.0.0.2")  # nothing listens there
INTERVAL = 15.0
NEVER_OLD, ALWAYS_OLD = 3600.0, 0.0

Start = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[None]]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
async def serve(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Serve /progress on 127.0.0.1, at a free port in place of the Pods' fixed one."""
    runners: list[web.AppRunner] = []

    async def start(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        application = web.Application()
        application.router.add_get("/progress", handler)
        runners.append(web.AppRunner(application))
        await runners[0].setup()
        await web.TCPSite(runners[0], "127.0.0.1", 0).start()
        monkeypatch.setattr(progress_module, "PROGRESS_PORT", runners[0].addresses[0][1])

    yield start
    for runner in runners:
        await runner.cleanup()


class Counting:
    """Answers with the number of times it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response(progress(self.asked, 10).to_json())


async def test_asks_each_running_pod(serve: Start, session: aiohttp.ClientSession) -> None:
    await serve(Counting().answer)
    assert await ProgressPoller(session, INTERVAL).poll(KEY, [POD]) == {POD.name: progress(1, 10)}


async def test_asks_no_more_often_than_once_an_interval(serve: Start, session: aiohttp.ClientSession) -> None:
    server = Counting()
    await serve(server.answer)
    poller = ProgressPoller(session, NEVER_OLD)
    assert await poller.poll(KEY, [POD]) == await poller.poll(KEY, [POD])
    assert server.asked == 1


async def test_asks_again_when_the_interval_is_over(serve: Start, session: aiohttp.ClientSession) -> None:
    await serve(Counting().answer)
    poller = ProgressPoller(session, ALWAYS_OLD)
    await poller.poll(KEY, [POD])
    assert (await poller.poll(KEY, [POD]))[POD.name].done == 2


@pytest.mark.parametrize(
    "changed", [{"phase": "Pending"}, {"phase": "Succeeded"}, {"deletion_timestamp": NOW}, {"ip": ""}], ids=str
)
async def test_does_not_ask_a_pod_that_cannot_answer(
    changed: dict[str, object], serve: Start, session: aiohttp.ClientSession
) -> None:
    server = Counting()
    await serve(server.answer)
    poller = ProgressPoller(session, INTERVAL)
    silent: PodView = replace(POD, **changed)  # type: ignore[arg-type]
    assert await poller.poll(KEY, [silent]) == {}
    assert (server.asked, poller.next_poll_seconds(KEY)) == (0, None)


@pytest.mark.parametrize("answer", ["", "{}", '{"stage": "generate", "done": -1, "unit": "x"}', "<html>"])
async def test_an_answer_that_is_no_progress_is_none(answer: str, serve: Start, session: aiohttp.ClientSession) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text=answer)

    await serve(handler)
    assert await ProgressPoller(session, INTERVAL).poll(KEY, [POD]) == {}


async def test_a_pod_that_stops_answering_keeps_its_last_word(serve: Start, session: aiohttp.ClientSession) -> None:
    server = Counting()

    async def once(request: web.Request) -> web.Response:
        if server.asked:
            raise web.HTTPServiceUnavailable
        return await server.answer(request)

    await serve(once)
    poller = ProgressPoller(session, ALWAYS_OLD)
    first = await poller.poll(KEY, [POD])
    assert await poller.poll(KEY, [POD]) == first


async def test_one_pod_s_silence_does_not_hide_another(serve: Start, session: aiohttp.ClientSession) -> None:
    await serve(Counting().answer)
    assert set(await ProgressPoller(session, INTERVAL).poll(KEY, [OTHER_ADDRESS, POD])) == {POD.name}


async def test_a_pod_that_has_not_answered_yet_is_asked_again_soon(
    serve: Start, session: aiohttp.ClientSession
) -> None:
    await serve(Counting().answer)
    poller = ProgressPoller(session, INTERVAL)
    await poller.poll(KEY, [OTHER_ADDRESS])
    wait = poller.next_poll_seconds(KEY)
    assert wait is not None
    assert 0 < wait <= FIRST_ANSWER_SECONDS


async def test_a_pod_that_never_answers_is_asked_ever_more_rarely(
    serve: Start, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    await serve(Counting().answer)
    monkeypatch.setattr(progress_module, "FIRST_ANSWER_SECONDS", 0.5)
    poller = ProgressPoller(session, 3.0)
    now = 0.0
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now)
    waits = []
    for _ in range(5):
        await poller.poll(KEY, [OTHER_ADDRESS])
        waits.append(poller.next_poll_seconds(KEY))
        now += waits[-1] or 0
    assert waits == [0.5, 1.0, 2.0, 3.0, 3.0]


async def test_forgets_pods_that_are_gone(serve: Start, session: aiohttp.ClientSession) -> None:
    server = Counting()
    await serve(server.answer)
    poller = ProgressPoller(session, NEVER_OLD)
    await poller.poll(KEY, [POD])
    assert await poller.poll(KEY, []) == {}
    await poller.poll(KEY, [POD])
    assert server.asked == 2


async def test_forgets_an_object_that_is_gone(serve: Start, session: aiohttp.ClientSession) -> None:
    await serve(Counting().answer)
    poller = ProgressPoller(session, INTERVAL)
    await poller.poll(KEY, [POD])
    poller.forget(KEY)
    assert poller.next_poll_seconds(KEY) is None

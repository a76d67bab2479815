"""The keyed, coalescing queue: never twice at once for a key, and again if it was added since."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from distill_operator import work_queue
from distill_operator.work_queue import WorkQueue, backoff_seconds

Work = Callable[[str], Awaitable[float | None]]


@asynccontextmanager
async def working(work: Work, workers: int = 2) -> AsyncIterator[WorkQueue[str]]:
    queue: WorkQueue[str] = WorkQueue()
    task = asyncio.create_task(queue.run(work, workers))
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Worker:
    """Work that notes its calls and can be held."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def __call__(self, key: str) -> float | None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.may_go_on.wait()
        self.at_once -= 1
        self.done.append(key)
        return None

    async def has_done(self, count: int) -> None:
        await until(lambda: len(self.done) >= count)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110 - what is waited for is seen from outside only
            await asyncio.sleep(0.001)


async def test_many_events_for_one_key_are_one_piece_of_work() -> None:
    worker = Worker()
    async with working(worker) as queue:
        for _ in range(10):
            queue.add("a")
        assert len(queue) == 1
        await worker.has_done(1)
        await asyncio.sleep(0.02)
    assert worker.done == ["a"]


async def test_a_key_that_is_added_while_it_is_worked_on_comes_again_once() -> None:
    worker = Worker()
    worker.may_go_on.clear()
    async with working(worker) as queue:
        queue.add("a")
        await asyncio.sleep(0.01)
        queue.add("a")
        queue.add("a")
        worker.may_go_on.set()
        await worker.has_done(2)
        await asyncio.sleep(0.02)
    assert worker.done == ["a", "a"]
    assert worker.most_at_once == 1


async def test_different_keys_are_worked_on_at_once() -> None:
    worker = Worker()
    worker.may_go_on.clear()
    async with working(worker, workers=2) as queue:
        for key in "abc":
            queue.add(key)
        await asyncio.sleep(0.01)
        worker.may_go_on.set()
        await worker.has_done(3)
    assert worker.most_at_once == 2


async def test_a_key_comes_back_when_it_asked_to() -> None:
    waits = [0.01, None]
    done: list[float] = []

    async def work(_: str) -> float | None:
        done.append(asyncio.get_running_loop().time())
        return waits.pop(0)

    async with working(work) as queue:
        queue.add("a")
        await asyncio.sleep(0.1)
    assert len(done) == 2
    assert done[1] - done[0] >= 0.01


async def test_of_two_times_the_earlier_holds() -> None:
    worker = Worker()
    async with working(worker) as queue:
        queue.add_after("a", 0.01)
        queue.add_after("a", 60)
        await worker.has_done(1)


async def test_an_event_comes_before_the_time_and_replaces_it() -> None:
    worker = Worker()
    async with working(worker) as queue:
        queue.add_after("a", 0.03)
        queue.add("a")
        await worker.has_done(1)
        await asyncio.sleep(0.06)
    assert worker.done == ["a"]


async def test_a_failure_is_retried_later_and_later_and_hinders_no_other_key(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(work_queue, "FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(work_queue, "LONGEST_RETRY_SECONDS", 0.02)
    tries: list[str] = []

    async def work(key: str) -> float | None:
        tries.append(key)
        if key == "bad" and tries.count("bad") < 4:
            raise ValueError("out of luck")
        return None

    async with working(work, workers=1) as queue:
        queue.add("bad")
        queue.add("good")
        await until(lambda: tries.count("bad") >= 4)
        await asyncio.sleep(0.05)
    assert tries.count("bad") == 4
    assert "good" in tries
    waits = [record.getMessage().rsplit("in ", 1)[1] for record in caplog.records]
    assert waits == ["0.01 s", "0.02 s", "0.02 s"]
    assert "ValueError: out of luck" in caplog.text


def test_the_pause_doubles_to_the_longest_however_long_it_goes_on() -> None:
    assert [backoff_seconds(failures) for failures in (1, 2, 3, 6, 7, 8)] == [1, 2, 4, 32, 60, 60]
    assert backoff_seconds(5000) == 60


async def test_says_how_long_its_longest_piece_of_work_has_been_running() -> None:
    worker = Worker()
    worker.may_go_on.clear()
    async with working(worker) as queue:
        assert queue.longest_busy_seconds() < 0.01
        queue.add("a")
        await asyncio.sleep(0.05)
        assert queue.longest_busy_seconds() >= 0.04
        worker.may_go_on.set()
        await worker.has_done(1)
        assert queue.longest_busy_seconds() < 0.01

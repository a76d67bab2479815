"""A keyed, coalescing work queue, after client-go's: many events for one key are one piece of work."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0

_log = logging.getLogger(__name__)


def backoff_seconds(failures: int) -> float:
    """Give the pause after so many failures in a row: it doubles from the first to the longest."""
    doublings = min(failures - 1, 10)  # a float has an end, and an outage may last for days
    return min(FIRST_RETRY_SECONDS * 2.0**doublings, LONGEST_RETRY_SECONDS)


class WorkQueue(Generic[Key]):
    """Has every key that is added worked on: never twice at once for one key, and again if it was added since.

    `work` returns the seconds after which it wants to look again, or None. When it raises, the key comes back after
    `backoff_seconds`.
    """

    def __init__(self) -> None:
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        self._busy: dict[Key, float] = {}
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}

    def add(self, key: Key) -> None:
        """Have `key` worked on as soon as a worker is free."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Have `key` worked on after `seconds`, or earlier if it is added before."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= loop.time() + seconds:
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def _due(self, key: Key) -> None:
        del self._timers[key]
        self.add(key)

    def __len__(self) -> int:
        return len(self._waiting)

    def longest_busy_seconds(self) -> float:
        """Give how long the piece of work that runs longest has been running."""
        return time.monotonic() - min(self._busy.values(), default=time.monotonic())

    async def run(self, work: Callable[[Key], Awaitable[float | None]], workers: int) -> None:
        """Call `work(key)` for every key, for so many at a time, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._worker(work))

    async def _worker(self, work: Callable[[Key], Awaitable[float | None]]) -> None:
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._busy[key] = time.monotonic()
            try:
                delay = await work(key)
            except Exception:  # noqa: BLE001 - the boundary: one key's trouble must not stop the others
                self._failures[key] = self._failures.get(key, 0) + 1
                delay = backoff_seconds(self._failures[key])
                _log.exception("%s: next try in %g s", key, delay)
            else:
                self._failures.pop(key, None)
            finally:
                del self._busy[key]
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            elif delay is not None:
                self.add_after(key, delay)

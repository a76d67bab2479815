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


class WorkQueue(Generic[Key]):
    """Calls `work(key)` for every key that is added: never twice at once for one key, and again if it was added since.

    `work` returns the seconds after which it wants to look again, or None. When it raises, the key comes back after a
    delay that doubles from `FIRST_RETRY_SECONDS` to `LONGEST_RETRY_SECONDS`. Errors of the `expected` types explain
    themselves; any other is logged with its traceback.
    """

    def __init__(
        self, work: Callable[[Key], Awaitable[float | None]], expected: tuple[type[Exception], ...] = ()
    ) -> None:
        self._work = work
        self._expected = expected
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

    async def run(self, workers: int) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._busy[key] = time.monotonic()
            try:
                delay = await self._work(key)
            except Exception as error:  # noqa: BLE001 - the boundary: one key's trouble must not stop the others
                failures = self._failures[key] = self._failures.get(key, 0) + 1
                delay = min(FIRST_RETRY_SECONDS * 2.0 ** (failures - 1), LONGEST_RETRY_SECONDS)
                unexpected = not isinstance(error, self._expected)
                _log.error(
                    "%s: %s; next try in %g s", key, str(error) or type(error).__name__, delay, exc_info=unexpected
                )
            else:
                self._failures.pop(key, None)
            finally:
                del self._busy[key]
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            elif delay is not None:
                self.add_after(key, delay)

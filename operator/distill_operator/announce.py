"""Posting Events beside the reconciling: one at a time, in their order, when the API server has time for them.

What an Event tells is in the status, which is written before; the Event only makes it visible in `kubectl describe` and
to whoever collects Events. So one that is refused is in the log only, and a thousand objects that are created at once
get their Jobs before their Events.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

from distill_operator.errors import ClusterError
from distill_operator.observation import ResourceKey
from distill_operator.plan.events import Notice

MOST_WAITING = 10_000
LAST_WORDS_SECONDS = 5.0

Emit = Callable[[ResourceKey, str, Notice, datetime], Awaitable[None]]

_log = logging.getLogger(__name__)


class Announcer:
    """Takes Events and posts them when it is run."""

    def __init__(self, emit: Emit, clock: Callable[[], datetime]) -> None:
        self._emit = emit
        self._clock = clock
        self._waiting: asyncio.Queue[tuple[ResourceKey, str, Notice, datetime]] = asyncio.Queue(MOST_WAITING)

    def announce(self, key: ResourceKey, uid: str, notice: Notice) -> None:
        """Have an Event about an object posted."""
        _log.info("%s: %s: %s", key, notice.reason, notice.message)
        try:
            self._waiting.put_nowait((key, uid, notice, self._clock()))
        except asyncio.QueueFull:
            _log.error("%s: no Event for %s: %d are waiting to be posted", key, notice.reason, MOST_WAITING)

    async def run(self) -> None:
        """Post until cancelled; then what is waiting, as far as that takes no more than a few seconds."""
        try:
            while True:
                await self._post(*await self._waiting.get())
        except asyncio.CancelledError:
            try:
                async with asyncio.timeout(LAST_WORDS_SECONDS):
                    while not self._waiting.empty():
                        await self._post(*self._waiting.get_nowait())
            except TimeoutError:
                _log.error("%d Events are not posted: there is no time for them", self._waiting.qsize() + 1)
            raise

    async def _post(self, key: ResourceKey, uid: str, notice: Notice, at: datetime) -> None:
        try:
            await self._emit(key, uid, notice, at)
        except ClusterError as error:
            _log.error("%s: no Event for %s: %s", key, notice.reason, error)

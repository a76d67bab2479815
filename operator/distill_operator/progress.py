"""The edge to running stage Pods: asks each for its progress, no more often than once an interval."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

import aiohttp
from pydantic import ValidationError

from distill_operator.observation import PodView, ResourceKey
from distill_runtime.contract import PROGRESS_PORT, Progress

REQUEST_SECONDS = 3.0
FIRST_ANSWER_SECONDS = 2.0
"""A Pod that has not answered yet is asked again after this, then ever more rarely: its server starts a moment after
its container, but one that a network policy hides will never answer."""


@dataclass
class _Asked:
    """What one Pod was asked: when last, what it has answered, and how long to leave it alone."""

    at: float
    patience: float
    answer: Progress | None = None


class ProgressPoller:
    """Remembers the last progress of every running Pod, and asks again when it is older than the interval."""

    def __init__(self, session: aiohttp.ClientSession, interval_seconds: float) -> None:
        self._session = session
        self._interval = interval_seconds
        self._asked: dict[ResourceKey, dict[str, _Asked]] = {}

    async def poll(self, key: ResourceKey, pods: Iterable[PodView]) -> dict[str, Progress]:
        """Give the last known progress of each running Pod of the object, by Pod name. The others are forgotten."""
        running = {pod.name: pod for pod in pods if pod.running}
        asked = {name: one for name, one in self._asked.pop(key, {}).items() if name in running}
        now = time.monotonic()
        due = [
            pod for name, pod in running.items() if name not in asked or asked[name].at + asked[name].patience <= now
        ]
        answers = await asyncio.gather(*(self._ask(pod) for pod in due))
        for pod, answer in zip(due, answers, strict=True):
            asked[pod.name] = self._remember(asked.get(pod.name), answer, now)
        if asked:
            self._asked[key] = asked
        return {name: one.answer for name, one in asked.items() if one.answer is not None}

    def forget(self, key: ResourceKey) -> None:
        """Drop what is remembered of the Pods of an object that is gone."""
        self._asked.pop(key, None)

    def next_poll_seconds(self, key: ResourceKey) -> float | None:
        """Give the seconds until one of the object's Pods should be asked again; None when none is running."""
        now = time.monotonic()
        waits = (one.at + one.patience - now for one in self._asked.get(key, {}).values())
        return min((max(0.1, seconds) for seconds in waits), default=None)

    def _remember(self, before: _Asked | None, answer: Progress | None, now: float) -> _Asked:
        """A Pod that does not answer keeps its last known progress: it may be busy, or just ending."""
        known = answer or (before.answer if before is not None else None)
        if known is not None:
            return _Asked(now, self._interval, known)
        patience = FIRST_ANSWER_SECONDS if before is None else before.patience * 2
        return _Asked(now, min(patience, self._interval))

    async def _ask(self, pod: PodView) -> Progress | None:
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        try:
            async with self._session.get(f"http://{host}:{PROGRESS_PORT}/progress", timeout=timeout) as response:
                response.raise_for_status()
                return Progress.model_validate_json(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValidationError):
            return None

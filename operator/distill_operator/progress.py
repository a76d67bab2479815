"""The edge to running stage Pods: asks each for its progress, no more often than once an interval."""

import asyncio
import time
from collections.abc import Iterable

import aiohttp
from pydantic import ValidationError

from distill_operator.observation import PodView
from distill_runtime.contract import PROGRESS_PORT, Progress

REQUEST_SECONDS = 3.0
FIRST_ANSWER_SECONDS = 2.0
"""A Pod that has not answered yet is asked again after this: its server starts a moment after its container."""


class ProgressPoller:
    """Remembers the last progress of every running Pod, and asks again when it is older than the interval."""

    def __init__(self, session: aiohttp.ClientSession, interval_seconds: float) -> None:
        self._session = session
        self._interval = interval_seconds
        self._known: dict[str, Progress] = {}
        self._asked: dict[str, float] = {}

    async def poll(self, namespace: str, pods: Iterable[PodView]) -> dict[str, Progress]:
        """Give the last known progress of each of `pods` that is running, by Pod name."""
        running = {f"{namespace}/{pod.name}": pod for pod in pods if pod.running}
        due = [name for name in running if self._age(name) >= self._patience(name)]
        await asyncio.gather(*(self._ask(name, running[name]) for name in due))
        return {pod.name: self._known[name] for name, pod in running.items() if name in self._known}

    def forget(self, namespace: str, pods: Iterable[PodView]) -> None:
        """Drop what is remembered of Pods that have ended."""
        for pod in pods:
            self._known.pop(f"{namespace}/{pod.name}", None)
            self._asked.pop(f"{namespace}/{pod.name}", None)

    def next_poll_seconds(self, namespace: str, pods: Iterable[PodView]) -> float | None:
        """Give the seconds until one of the running `pods` should be asked again; None when none is running."""
        names = [f"{namespace}/{pod.name}" for pod in pods if pod.running]
        return min((max(0.1, self._patience(name) - self._age(name)) for name in names), default=None)

    def _age(self, name: str) -> float:
        return time.monotonic() - self._asked.get(name, float("-inf"))

    def _patience(self, name: str) -> float:
        return self._interval if name in self._known else min(FIRST_ANSWER_SECONDS, self._interval)

    async def _ask(self, name: str, pod: PodView) -> None:
        """Ask one Pod. One that does not answer keeps its last known progress: it may be busy, or just ending."""
        self._asked[name] = time.monotonic()
        try:
            async with self._session.get(
                f"http://{pod.ip}:{PROGRESS_PORT}/progress", timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS)
            ) as response:
                response.raise_for_status()
                self._known[name] = Progress.model_validate_json(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValidationError):
            return

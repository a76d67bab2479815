"""The edge to running stage Pods: asks each for its progress, in a loop of its own, beside the reconciling.

Nothing that a Pod does holds anybody else up. It may be silent, for a network policy hides it: then it is asked ever
more rarely. Whatever it answers is bounded in time and size, and sends nobody elsewhere: what runs in it is a user's.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from aiohttp import hdrs

from distill_operator.observation import PodView, ResourceKey
from distill_operator.plan.reports import read_progress
from distill_runtime.contract import PROGRESS_PORT, Progress

AT_ONCE = 128
"""Pods that are asked at the same time: those that do not answer take one of the places for as long as they may."""
CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 3.0
MOST_BYTES = 65_536
"""Longest answer that is read: progress with a hundred counts has a tenth of it."""
FIRST_PATIENCE_SECONDS = 2.0
"""A Pod that does not answer is asked again after this, then after twice as long each time: its server starts a moment
after its container, but one that a network policy hides will never answer."""
LONGEST_PATIENCE_SECONDS = 300.0


@dataclass
class _Followed:
    """A Pod that is asked, by whom, and what it has said last."""

    asking: asyncio.Task[None]
    answer: Progress | None = None


class ProgressPoller:
    """Follows running Pods and remembers what each has said last.

    `answered` is called with the object of a Pod whenever that has answered.
    """

    def __init__(self, interval_seconds: float, answered: Callable[[ResourceKey], None]) -> None:
        self._interval = interval_seconds
        self._answered = answered
        self._followed: dict[ResourceKey, dict[str, _Followed]] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        # No cookies, no proxy, nothing unpacked: what asks for a plain answer of some bytes gets that or nothing.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=AT_ONCE),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS),
            headers={hdrs.ACCEPT_ENCODING: "identity"},
            auto_decompress=False,
        )

    async def __aenter__(self) -> "ProgressPoller":
        return self

    async def __aexit__(self, *_: object) -> None:
        for key in list(self._followed):
            self.forget(key)
        await self._session.close()

    def follow(self, key: ResourceKey, pods: Iterable[PodView]) -> Mapping[str, Progress]:
        """Have these Pods of an object asked from now on, and no others of it. Gives what they last said, by name."""
        wanted = {pod.name: pod for pod in pods}
        followed = self._followed.pop(key, {})
        for name in followed.keys() - wanted.keys():
            followed.pop(name).asking.cancel()
        for name, pod in wanted.items():
            if name not in followed:
                followed[name] = _Followed(asyncio.create_task(self._ask_regularly(key, pod)))
        if followed:
            self._followed[key] = followed
        return {name: one.answer for name, one in followed.items() if one.answer is not None}

    def forget(self, key: ResourceKey) -> None:
        """Ask the Pods of an object no more."""
        self.follow(key, ())

    async def _ask_regularly(self, key: ResourceKey, pod: PodView) -> None:
        patience = FIRST_PATIENCE_SECONDS
        while True:
            async with self._places:
                answer = await self._ask(pod)
            if answer is not None:
                self._followed[key][pod.name].answer = answer  # one that is silent keeps its last word: it may be busy
                self._answered(key)
                patience = FIRST_PATIENCE_SECONDS
                await asyncio.sleep(self._interval)
            else:
                await asyncio.sleep(patience)
                patience = min(2 * patience, LONGEST_PATIENCE_SECONDS)

    async def _ask(self, pod: PodView) -> Progress | None:
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        try:
            async with self._session.get(f"http://{host}:{PROGRESS_PORT}/progress", allow_redirects=False) as response:
                if response.status != HTTPStatus.OK:
                    return None
                return read_progress(await _read(response.content))
        except (aiohttp.ClientError, TimeoutError, ValueError):  # a ValueError: an address or a header that is none
            return None


async def _read(content: aiohttp.StreamReader) -> bytes:
    """Read an answer, and of one that is too long no more than shows that."""
    text = bytearray()
    while len(text) <= MOST_BYTES and (chunk := await content.read(MOST_BYTES + 1 - len(text))):
        text += chunk
    return bytes(text) if len(text) <= MOST_BYTES else b""

"""A client of the API server that does hundreds of writes a second beside what it measures."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import orjson

from bench._control_plane import NAMESPACE, ControlPlane

Manifest = dict[str, Any]
Item = TypeVar("Item")

_COLLECTIONS = {
    "Pod": "/api/v1/namespaces/{}/pods",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "DistillDataset": "/apis/npu-distill.io/v1alpha1/namespaces/{}/distilldatasets",
    "JobSet": "/apis/jobset.x-k8s.io/v1alpha2/namespaces/{}/jobsets",
}
_LINE_BYTES = 2**20
_ERROR = 400


class ApiClient:
    """Writes and watches objects of the namespace that is measured in."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object and give it as it is then; a status in the manifest does not count."""
        return await self._send("POST", _collection(manifest["kind"]), manifest)

    async def set_status(self, created: Manifest, status: Manifest) -> Manifest:
        """Replace the status of an object that has just been created."""
        path = f"{_collection(created['kind'])}/{created['metadata']['name']}/status"
        return await self._send("PUT", path, {**created, "status": status})

    async def create_with_status(self, manifest: Manifest) -> Manifest:
        """Create an object with the status that is in the manifest."""
        return await self.set_status(await self.create(manifest), manifest["status"])

    async def get(self, kind: str, name: str) -> Manifest:
        """Give one object."""
        return await self._send("GET", f"{_collection(kind)}/{name}")

    async def list(self, kind: str) -> list[Manifest]:
        """Give all objects of a kind, each with its kind, which a list leaves out."""
        listing = await self._send("GET", _collection(kind))
        types = {"apiVersion": listing["apiVersion"], "kind": kind}
        return [{**types, **item} for item in listing["items"]]

    async def created(self, kind: str) -> AsyncIterator[Manifest]:
        """Give the objects of a kind that there are, then every one that is created, as a watch brings them."""
        async with self._session.get(_collection(kind), params={"watch": "true"}) as response:
            response.raise_for_status()
            async for line in response.content:
                event = orjson.loads(line)
                if event["type"] == "ADDED":
                    yield event["object"]

    async def _send(self, method: str, path: str, body: Manifest | None = None) -> Manifest:
        data = orjson.dumps(body) if body is not None else None
        headers = {"Content-Type": "application/json"}
        async with self._session.request(method, path, data=data, headers=headers) as response:
            answer: Manifest = orjson.loads(await response.read())
        if response.status >= _ERROR:
            raise RuntimeError(f"{method} {path}: {answer.get('message')}")
        return answer


@asynccontextmanager
async def connect(plane: ControlPlane) -> AsyncIterator[ApiClient]:
    """Connect with a control plane as its administrator."""
    authority = plane.authority
    tls = ssl.create_default_context(cafile=str(authority.root.certificate))
    tls.load_cert_chain(authority.folder / "admin.crt", authority.folder / "admin.key")
    connector = aiohttp.TCPConnector(ssl=tls, limit=0)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
    async with aiohttp.ClientSession(
        plane.server, connector=connector, timeout=timeout, read_bufsize=_LINE_BYTES
    ) as session:
        yield ApiClient(session)


async def at_once(clients: int, work: Callable[[Item], Awaitable[object]], items: Iterable[Item]) -> None:
    """Do `work` for every item, `clients` of them at once."""
    left = iter(items)

    async def client() -> None:
        for item in left:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())


async def until(what: str, seconds: float, holds: Callable[[], Awaitable[bool]], pause: float = 0.1) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: that takes longer than `seconds`.
    """
    end = time.monotonic() + seconds
    while not await holds():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        await asyncio.sleep(pause)


def _collection(kind: str) -> str:
    return _COLLECTIONS[kind].format(NAMESPACE)

"""Watching through kopf and sweeping what it misses, against a small API server over real HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio import client
from unit.operator.api_server import ApiServer
from unit.operator.builders import NAMESPACE, body, key

from distill_operator.cluster import Cluster
from distill_operator.handlers import build_registry, watch
from distill_operator.observation import KIND_LABEL, MANAGED_BY_LABEL, MANAGER, NAME_LABEL, ResourceKey
from distill_operator.store import WatchedStore
from distill_operator.sweep import sweep, sweep_regularly
from distill_operator.work_queue import WorkQueue

DATASET, RUN = key("DistillDataset"), key("FinetuneRun")


@dataclass
class Watching:
    """An operator that reconciles nothing: it notes which objects it would look at, and with how many Pods."""

    server: ApiServer
    cluster: Cluster
    namespaces: tuple[str, ...] = ()
    store: WatchedStore = field(default_factory=WatchedStore)
    looked_at: list[tuple[ResourceKey, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue: WorkQueue[ResourceKey] = WorkQueue(self._look)

    async def _look(self, key: ResourceKey) -> None:
        self.looked_at.append((key, len(self.store.pods(key))))

    async def sweep(self) -> None:
        self.looked_at.clear()
        await sweep(self.store, self.cluster, self.queue, self.namespaces)
        await until(lambda: not len(self.queue))


@asynccontextmanager
async def connected(namespaces: tuple[str, ...] = ()) -> AsyncIterator[Watching]:
    async with ApiServer().serving() as server, client.ApiClient(client.Configuration(host=server.url)) as api:
        watching = Watching(server, Cluster(api), namespaces)
        workers = asyncio.create_task(watching.queue.run(1))
        yield watching
        workers.cancel()
        await asyncio.gather(workers, return_exceptions=True)


@asynccontextmanager
async def watched(watching: Watching, directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Have kopf watch the server of `watching`."""
    watching.server.write_kubeconfig(directory / "config")
    monkeypatch.setenv("KUBECONFIG", str(directory / "config"))
    kopf = asyncio.create_task(watch(build_registry(watching.store, watching.queue), watching.namespaces))
    try:
        yield
    finally:
        kopf.cancel()
        await asyncio.gather(kopf, return_exceptions=True)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not happened():  # noqa: ASYNC110 - what is waited for is seen from outside only
            await asyncio.sleep(0.01)


def dataset(uid: str = "dataset") -> dict[str, Any]:
    return body("DistillDataset", metadata={"uid": uid})


def pod(uid: str) -> dict[str, Any]:
    labels = {MANAGED_BY_LABEL: MANAGER, KIND_LABEL: "DistillDataset", NAME_LABEL: "math"}
    return {"metadata": {"name": uid, "namespace": NAMESPACE, "uid": uid, "labels": labels}}


async def test_what_was_deleted_unnoticed_is_found_by_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected() as watching, watched(watching, tmp_path, monkeypatch):
        server = watching.server
        server.put("DistillDataset", dataset())
        for name in ("a", "b"):
            server.put("Pod", pod(name))
        await until(lambda: len(watching.store.pods(DATASET)) == 2)
        listings = server.listings("Pod")
        server.delete_unnoticed("Pod", "a")
        await until(lambda: server.listings("Pod") > listings)
        server.put("Pod", pod("c"))
        await until(lambda: len(watching.store.pods(DATASET)) == 3)  # kopf has listed anew, and left the ghost
        await watching.sweep()
        assert [view.name for view in watching.store.pods(DATASET)] == ["b", "c"]
        assert watching.looked_at == [(DATASET, 2)]


async def test_nothing_is_looked_at_before_all_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected() as watching:
        watching.server.put("DistillDataset", dataset())
        for number in range(20):
            watching.server.put("Pod", pod(f"pod-{number}"))
        async with watched(watching, tmp_path, monkeypatch):
            await until(lambda: bool(watching.looked_at))
    assert set(watching.looked_at) == {(DATASET, 20)}


async def test_a_deletion_that_the_watch_tells_of_needs_no_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected() as watching, watched(watching, tmp_path, monkeypatch):
        watching.server.put("DistillDataset", dataset())
        await until(lambda: watching.store.resource(DATASET) is not None)
        watching.looked_at.clear()
        watching.server.delete("DistillDataset", "dataset")
        await until(lambda: bool(watching.looked_at))
        assert watching.store.resource(DATASET) is None


async def test_a_sweep_that_finds_nothing_missing_has_nothing_looked_at() -> None:
    async with connected() as watching:
        for kind, item in (("DistillDataset", dataset()), ("Pod", pod("a"))):
            watching.server.put(kind, item)
            for known in watching.server.objects[kind].values():
                watching.store.put(kind, known)
        await watching.sweep()
        assert watching.looked_at == []
        assert {request.method for request in watching.server.requests} == {"GET"}


async def test_those_that_wait_for_a_missing_object_are_looked_at() -> None:
    async with connected() as watching:
        watching.store.put(
            "DistillDataset", body("DistillDataset", metadata={"uid": "dataset", "resourceVersion": "1"})
        )
        watching.server.put("FinetuneRun", body("FinetuneRun", metadata={"uid": "run"}))
        watching.store.put("FinetuneRun", watching.server.objects["FinetuneRun"]["run"])
        await watching.sweep()
        assert watching.looked_at == [(DATASET, 0), (RUN, 0)]


async def test_a_listing_that_is_refused_discards_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with connected() as watching:
        watching.store.put("DistillDataset", body("DistillDataset"))
        watching.server.refusal = (503, "etcd has no leader")
        await watching.sweep()
        assert watching.store.resource(DATASET) is not None
    assert "etcd has no leader" in caplog.text


async def test_sweeps_the_namespaces_that_are_watched() -> None:
    async with connected(("team-b", "team-c")) as watching:
        watching.store.put("DistillDataset", body("DistillDataset"))
        await watching.sweep()
        assert watching.store.resource(DATASET) is not None
        paths = [request.path for request in watching.server.requests if request.path.endswith("/pods")]
    assert paths == ["/api/v1/namespaces/team-b/pods", "/api/v1/namespaces/team-c/pods"]


async def test_sweeps_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_operator.sweep.SWEEP_SECONDS", 0.01)
    async with connected() as watching:
        task = asyncio.create_task(sweep_regularly(watching.store, watching.cluster, watching.queue, ()))
        await until(lambda: sum(request.path.endswith("/pods") for request in watching.server.requests) >= 3)
        task.cancel()

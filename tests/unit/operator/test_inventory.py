"""Listing what there is, watching through kopf and finding what that misses, against a small API server over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kopf
import pytest
from kubernetes.aio import client
from unit.operator.api_server import ApiServer
from unit.operator.builders import NAMESPACE, body, key

from distill_operator.cluster import Cluster
from distill_operator.handlers import build_registry, watch
from distill_operator.inventory import check, check_regularly, take_inventory
from distill_operator.observation import (
    INDEX_ANNOTATION,
    KIND_LABEL,
    MANAGED_BY_LABEL,
    MANAGER,
    NAME_LABEL,
    ResourceKey,
)
from distill_operator.store import WatchedStore

DATASET, RUN = key("DistillDataset"), key("FinetuneRun")


@dataclass
class Watching:
    """An operator that reconciles nothing: it notes which objects it would look at, and with how many Pods."""

    server: ApiServer
    cluster: Cluster
    namespaces: tuple[str, ...] = ()
    store: WatchedStore = field(default_factory=WatchedStore)
    looked_at: list[tuple[ResourceKey, int]] = field(default_factory=list)

    def look(self, key: ResourceKey) -> None:
        self.looked_at.append((key, len(self.store.pods(key))))

    async def check(self) -> None:
        self.looked_at.clear()
        await check(self.store, self.cluster, self.look, self.namespaces)


@asynccontextmanager
async def connected(namespaces: tuple[str, ...] = ()) -> AsyncIterator[Watching]:
    async with ApiServer().serving() as server, client.ApiClient(client.Configuration(host=server.url)) as api:
        yield Watching(server, Cluster(api), namespaces)


@asynccontextmanager
async def watched(watching: Watching, directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Have kopf watch the server of `watching`."""
    watching.server.write_kubeconfig(directory / "config")
    monkeypatch.setenv("KUBECONFIG", str(directory / "config"))
    watches = asyncio.create_task(watch(build_registry(watching.store, watching.look), watching.namespaces))
    try:
        yield
    finally:
        watches.cancel()
        await asyncio.gather(watches, return_exceptions=True)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not happened():  # noqa: ASYNC110 - what is waited for is seen from outside only
            await asyncio.sleep(0.01)


def dataset(uid: str = "dataset") -> dict[str, Any]:
    return body("DistillDataset", metadata={"uid": uid})


def pod(uid: str) -> dict[str, Any]:
    labels = {MANAGED_BY_LABEL: MANAGER, KIND_LABEL: "DistillDataset", NAME_LABEL: "math"}
    return {"metadata": {"name": uid, "namespace": NAMESPACE, "uid": uid, "labels": labels}}


async def test_what_was_deleted_unnoticed_is_found_by_a_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        await watching.check()
        assert [view.name for view in watching.store.pods(DATASET)] == ["b", "c"]
        assert watching.looked_at == [(DATASET, 2)]


async def test_everything_is_known_before_anything_is_watched_and_the_watch_brings_no_news_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_operator.cluster.PAGE_OBJECTS", 3)
    async with connected() as watching:
        watching.server.put("DistillDataset", dataset())
        for number in range(10):
            watching.server.put("Pod", pod(f"pod-{number}"))
        await take_inventory(watching.store, watching.cluster, ())
        assert watching.store.known() == (DATASET,)
        assert len(watching.store.pods(DATASET)) == 10
        pages = [request.query["limit"] for request in watching.server.requests if request.path.endswith("/pods")]
        assert pages == ["3"] * 4
        async with watched(watching, tmp_path, monkeypatch):
            await until(watching.server.watched)
            watching.server.put("Pod", pod("one-more"))
            await until(lambda: len(watching.store.pods(DATASET)) == 11)
    assert watching.looked_at == [(DATASET, 11)]


async def test_an_api_server_that_is_busy_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("distill_operator.work_queue.FIRST_RETRY_SECONDS", 0.01)
    async with connected() as watching:
        watching.server.put("DistillDataset", dataset())
        watching.server.refusal = (429, "too many requests")
        listing = asyncio.create_task(take_inventory(watching.store, watching.cluster, ()))
        await until(lambda: len(watching.server.requests) >= 3)
        watching.server.refusal = None
        await listing
        assert watching.store.known() == (DATASET,)
    assert "too many requests" in caplog.text


async def test_an_object_that_cannot_be_read_keeps_no_other_from_being_known(caplog: pytest.LogCaptureFixture) -> None:
    """Anybody may put the labels on anything."""
    async with connected() as watching:
        watching.server.put("Pod", pod("a"))
        odd = pod("odd")
        odd["metadata"]["annotations"] = {INDEX_ANNOTATION: "first"}
        watching.server.put("Pod", odd)
        watching.server.put("Pod", pod("b"))
        await take_inventory(watching.store, watching.cluster, ())
        assert {view.name for view in watching.store.pods(DATASET)} >= {"a", "b"}


async def test_a_deletion_that_the_watch_tells_of_needs_no_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected() as watching, watched(watching, tmp_path, monkeypatch):
        watching.server.put("DistillDataset", dataset())
        await until(lambda: watching.store.resource(DATASET) is not None)
        watching.looked_at.clear()
        watching.server.delete("DistillDataset", "dataset")
        await until(lambda: bool(watching.looked_at))
        assert watching.store.resource(DATASET) is None


async def test_a_check_that_finds_nothing_missing_has_nothing_looked_at() -> None:
    async with connected() as watching:
        for kind, item in (("DistillDataset", dataset()), ("Pod", pod("a"))):
            watching.server.put(kind, item)
            for known in watching.server.objects[kind].values():
                watching.store.put(kind, known)
        await watching.check()
        assert watching.looked_at == []
        assert {request.method for request in watching.server.requests} == {"GET"}


async def test_those_that_wait_for_a_missing_object_are_looked_at() -> None:
    async with connected() as watching:
        watching.store.put(
            "DistillDataset", body("DistillDataset", metadata={"uid": "dataset", "resourceVersion": "1"})
        )
        watching.server.put("FinetuneRun", body("FinetuneRun", metadata={"uid": "run"}))
        watching.store.put("FinetuneRun", watching.server.objects["FinetuneRun"]["run"])
        await watching.check()
        assert watching.looked_at == [(DATASET, 0), (RUN, 0)]


async def test_a_listing_that_is_refused_discards_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with connected() as watching:
        watching.store.put("DistillDataset", body("DistillDataset"))
        watching.server.refusal = (503, "etcd has no leader")
        await watching.check()
        assert watching.store.resource(DATASET) is not None
    assert "etcd has no leader" in caplog.text


async def test_checks_the_namespaces_that_are_watched() -> None:
    async with connected(("team-b", "team-c")) as watching:
        watching.store.put("DistillDataset", body("DistillDataset"))
        await watching.check()
        assert watching.store.resource(DATASET) is not None
        paths = [request.path for request in watching.server.requests if request.path.endswith("/pods")]
    assert paths == ["/api/v1/namespaces/team-b/pods", "/api/v1/namespaces/team-c/pods"]


async def test_checks_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_operator.inventory.FIRST_CHECK_SECONDS", 0.01)
    monkeypatch.setattr("distill_operator.inventory.CHECK_SECONDS", 0.01)
    async with connected() as watching:
        task = asyncio.create_task(check_regularly(watching.store, watching.cluster, watching.look, ()))
        await until(lambda: sum(request.path.endswith("/pods") for request in watching.server.requests) >= 3)
        task.cancel()


async def test_a_token_that_was_exchanged_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kubelet does with a service account's, every hour."""
    async with connected() as watching, watched(watching, tmp_path, monkeypatch):
        server = watching.server
        await until(server.watched)
        server.token = "second"
        server.write_kubeconfig(tmp_path / "config")
        server.put("DistillDataset", dataset("new"))
        server.delete_unnoticed("DistillDataset", "new")  # the watch is begun anew, with a listing
        listings = server.listings("DistillDataset")
        await until(lambda: server.listings("DistillDataset") > listings + 1)
        await until(server.watched)
        server.put("DistillDataset", dataset("newer"))
        await until(lambda: watching.looked_at[-2:] == [(DATASET, 0)] * 2)


async def test_a_token_that_is_refused_again_ends_the_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected() as watching:
        watching.server.write_kubeconfig(tmp_path / "config")
        watching.server.token = "another"
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        with pytest.raises(kopf.LoginError):
            await asyncio.wait_for(watch(build_registry(watching.store, watching.look), ()), 60)
        assert len(watching.server.requests) < 50

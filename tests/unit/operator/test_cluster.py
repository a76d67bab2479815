"""What is asked of the API server and written to it, over real HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from kubernetes.aio import client
from unit.operator.api_server import ApiServer
from unit.operator.builders import NAMESPACE, NOW, UID, body, key

from distill_operator.cluster import NOTE_BYTES, Cluster, _proxy_of
from distill_operator.errors import (
    BusyError,
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotServedError,
    ObjectGoneError,
)
from distill_operator.observation import KIND_LABEL, MANAGED_BY_LABEL, MANAGER, NAME_LABEL
from distill_operator.plan.events import Notice

KEY = key("DistillDataset")
MATH = {KIND_LABEL: KEY.kind, NAME_LABEL: KEY.name}


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Cluster, ApiServer]]:
    async with ApiServer().serving() as server, client.ApiClient(client.Configuration(host=server.url)) as api:
        yield Cluster(api), server


def pod(uid: str, namespace: str = NAMESPACE, manager: str = MANAGER, **labels: str) -> dict[str, Any]:
    labels[MANAGED_BY_LABEL] = manager
    return {"metadata": {"name": uid, "namespace": namespace, "uid": uid, "labels": labels}}


async def test_the_kinds_are_there() -> None:
    async with connected() as (cluster, _):
        await cluster.require_kinds()


@pytest.mark.parametrize(
    ("served", "missing"),
    [
        ({"Job", "Pod"}, "distilldatasets, finetuneruns, evalruns"),
        ({"Job", "Pod", "DistillDataset", "EvalRun"}, "finetuneruns"),
    ],
)
async def test_says_which_kinds_are_missing_and_what_to_do(served: set[str], missing: str) -> None:
    async with connected() as (cluster, server):
        server.kinds = served
        with pytest.raises(NotServedError, match=f"does not serve {missing} of .*kubectl apply .* -f crds/"):
            await cluster.require_kinds()


async def test_an_api_server_in_trouble_is_not_taken_for_one_without_the_kinds() -> None:
    async with connected() as (cluster, server):
        server.refusal = (503, "etcd has no leader")
        with pytest.raises(ClusterError, match=r"etcd has no leader \(HTTP 503\)") as raised:
            await cluster.require_kinds()
    assert not isinstance(raised.value, NotServedError)


async def test_a_server_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp's time-outs say nothing of themselves."""
    monkeypatch.setattr("distill_operator.cluster.REQUEST_SECONDS", 0.05)
    async with connected() as (cluster, server):
        server.silent = True
        with pytest.raises(ClusterError, match=r"GET .*: no answer within 0\.05 s"):
            await cluster.require_kinds()


async def test_lists_uids_with_the_version_that_they_are_of() -> None:
    async with connected() as (cluster, server):
        for name in ("a", "b"):
            server.put("DistillDataset", body("DistillDataset", metadata={"uid": name}))
        listing = await cluster.list_uids("DistillDataset", None)
    assert (listing.version, listing.uids) == (2, {"a", "b"})


async def test_a_listing_of_uids_comes_in_pages_without_the_objects_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_operator.cluster.PAGE_OBJECTS", 2)
    async with connected() as (cluster, server):
        for number in range(5):
            server.put("Pod", pod(f"pod-{number}"))
        listing = await cluster.list_uids("Pod", None)
    assert listing.uids == {f"pod-{number}" for number in range(5)}
    assert [(request.query["limit"], request.query.get("continue")) for request in server.requests] == [
        ("2", None),
        ("2", "2"),
        ("2", "4"),
    ]
    assert all("PartialObjectMetadataList" in request.headers["Accept"] for request in server.requests)


async def test_lists_children_of_this_operator_only() -> None:
    async with connected() as (cluster, server):
        server.put("Pod", pod("ours"))
        server.put("Pod", pod("another-s", manager="Helm"))
        assert (await cluster.list_uids("Pod", None)).uids == {"ours"}


async def test_lists_the_pods_of_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_operator.cluster.PAGE_OBJECTS", 2)
    async with connected() as (cluster, server):
        for number in range(3):
            server.put("Pod", pod(f"pod-{number}", **MATH))
        server.put("Pod", pod("of-another", **{**MATH, NAME_LABEL: "other"}))
        listing = await cluster.list_pods(KEY)
    assert listing.version == 4
    assert [body["metadata"]["uid"] for body in listing.bodies] == ["pod-0", "pod-1", "pod-2"]


async def test_lists_one_namespace() -> None:
    async with connected() as (cluster, server):
        server.put("Pod", pod("a"))
        server.put("Pod", pod("b", namespace="team-b"))
        assert (await cluster.list_uids("Pod", "team-b")).uids == {"b"}


@pytest.mark.parametrize("message", ["short", "x" * 1024, "x" * 1025, "数" * 400, "é" * 513, "x" + "𝒙" * 256])
async def test_an_event_s_note_is_cut_to_the_bytes_that_it_may_have(message: str) -> None:
    async with connected() as (cluster, server):
        await cluster.emit(KEY, UID, Notice("Normal", "Generating", message), NOW)
    note = server.posted[0]["note"]
    assert len(note.encode()) <= NOTE_BYTES
    if len(message.encode()) <= NOTE_BYTES:
        assert note == message
    else:
        assert note.endswith("…")
        assert message.startswith(note[:-1])
        assert len(note.encode()) > NOTE_BYTES - len("𝒙".encode())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, ForbiddenError),
        (404, ObjectGoneError),
        (409, ConflictError),
        (422, InvalidError),
        (400, ClusterError),
        (410, BusyError),
        (429, BusyError),
        (500, BusyError),
        (503, BusyError),
    ],
)
async def test_a_refusal_is_an_error_of_its_kind_with_the_server_s_words(status: int, kind: type[ClusterError]) -> None:
    async with connected() as (cluster, server):
        server.refusal = (status, "note: can have at most 1024 bytes")
        with pytest.raises(ClusterError, match=rf"note: can have at most 1024 bytes \(HTTP {status}\)") as raised:
            await cluster.emit(KEY, UID, Notice("Normal", "Generating", "…"), NOW)
    assert type(raised.value) is kind


@pytest.mark.parametrize(("said", "seconds"), [("7", 7), ("3600", 60), ("", 0), ("-1", 0), ("²", 0), ("soon", 0)])
async def test_a_busy_api_server_says_how_long_it_wants_to_be_left_alone(said: str, seconds: float) -> None:
    async with connected() as (cluster, server):
        server.refusal, server.retry_after = (429, "too many requests"), said
        with pytest.raises(BusyError) as raised:
            await cluster.require_kinds()
    assert raised.value.retry_after == seconds


async def test_an_api_server_that_cannot_be_reached_is_busy() -> None:
    async with client.ApiClient(client.Configuration(host="http://127.0.0.1:1")) as api:
        with pytest.raises(BusyError, match="GET"):
            await Cluster(api).require_kinds()


@pytest.mark.parametrize(
    ("host", "proxy"),
    [("https://kubernetes.example:443", "http://proxy.example:3128"), ("https://10.96.0.1:443", None)],
)
def test_finds_the_proxy_once(host: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "10.96.0.1,localhost")
    assert _proxy_of(host) == proxy


def child(owner: str) -> dict[str, Any]:
    metadata = {"name": "math-generate-a1", "namespace": NAMESPACE, "ownerReferences": [{"uid": owner}]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"completions": 1}}


async def test_creating_twice_is_creating_once() -> None:
    async with connected() as (cluster, server):
        created = await cluster.create(child("dataset"))
        assert created["metadata"]["uid"]
        server.put("Job", {**created, "status": {"active": 1}})
        again = await cluster.create({**child("dataset"), "spec": {"completions": 2}})
    assert (again["metadata"]["uid"], again["status"]) == (created["metadata"]["uid"], {"active": 1})
    assert again["spec"] == {"completions": 1}
    assert len(server.objects["Job"]) == 1


async def test_what_another_object_has_by_the_name_is_not_taken_for_its_own() -> None:
    """An earlier object of the name was deleted, and the garbage collector has not been there yet."""
    async with connected() as (cluster, _):
        await cluster.create(child("an earlier dataset"))
        with pytest.raises(ConflictError, match="Job math-generate-a1 is there already, and belongs to another object"):
            await cluster.create(child("dataset"))

"""Namespaces that are configured and gone: the others are served all the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from kubernetes.aio import client
from unit.operator.api_server import ApiServer

from distill_operator.cluster import Cluster
from distill_operator.errors import ClusterError, NamespaceReturnedError
from distill_operator.reach import end_when_within_reach, within_reach


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Cluster, ApiServer]]:
    async with ApiServer().serving() as server, client.ApiClient(client.Configuration(host=server.url)) as api:
        yield Cluster(api), server


async def test_one_that_is_gone_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    async with connected() as (cluster, server):
        server.forbidden = {"team-b"}
        assert await within_reach(cluster, ("team-a", "team-b")) == ("team-a",)
    assert "namespace team-b is left out" in caplog.text
    assert "helm upgrade" in caplog.text


async def test_all_are_watched_where_none_is_configured() -> None:
    async with connected() as (cluster, server):
        assert await within_reach(cluster, ()) == ()
        assert server.requests == []


async def test_with_none_there_is_nothing_to_do() -> None:
    """And no list of namespaces would mean all."""
    async with connected() as (cluster, server):
        server.forbidden = {"team-a"}
        with pytest.raises(ClusterError, match=r"None of watchNamespaces can be watched \(team-a\)"):
            await within_reach(cluster, ("team-a",))


async def test_trouble_is_not_taken_for_a_namespace_that_is_gone() -> None:
    async with connected() as (cluster, server):
        server.refusal = (503, "etcd has no leader")
        with pytest.raises(ClusterError, match="etcd has no leader"):
            await within_reach(cluster, ("team-a",))


async def test_one_that_returns_is_a_reason_to_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_operator.reach.ASK_AGAIN_SECONDS", 0.01)
    async with connected() as (cluster, server):
        server.forbidden = {"team-b"}
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(end_when_within_reach(cluster, {"team-b"}), 0.1)
        server.refusal = (503, "etcd has no leader")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(end_when_within_reach(cluster, {"team-b"}), 0.1)
        server.forbidden, server.refusal = set(), None
        with pytest.raises(NamespaceReturnedError, match="Namespace team-b can be watched now"):
            await asyncio.wait_for(end_when_within_reach(cluster, {"team-b"}), 30)

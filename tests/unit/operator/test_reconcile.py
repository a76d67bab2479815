"""One reconciliation at its edges: deletion, refusal, and what is written when."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from unit.operator.builders import NOW, SETTINGS, UID, body, job, key, running_pod
from unit.operator.simulation import Moment, SimulatedCluster, Strike

from distill_operator.errors import BusyError, ClusterError, InvalidError
from distill_operator.metrics import Metrics
from distill_operator.observation import ResourceKey
from distill_operator.reconcile import TRIES_BEFORE_SAYING, Reconciler, _to_be_asked

KEY = key("DistillDataset")


def cluster_with(**metadata: Any) -> SimulatedCluster:
    return SimulatedCluster(KEY, body("DistillDataset", metadata=metadata))


def reconciler_of(cluster: SimulatedCluster, concern: Callable[[ResourceKey], None] = lambda _: None) -> Reconciler:
    return Reconciler(
        cluster.store,
        cluster,  # the model stands for the API server and for the Pods
        cluster,
        SETTINGS,
        Metrics(),
        clock=lambda: cluster.now,
        concern=concern,
        announce=cluster.announce,
    )


def reconcile(cluster: SimulatedCluster) -> float | None:
    return look(reconciler_of(cluster, (again := []).append), again)


def look(reconciler: Reconciler, again: list[ResourceKey]) -> float | None:
    """Look, and again as long as the reconciler wants to."""
    while True:
        again.clear()
        wait = asyncio.run(reconciler.reconcile(KEY))
        if KEY not in again:
            return wait


def test_a_deleted_object_needs_nothing() -> None:
    cluster = cluster_with()
    cluster.store.discard(KEY.kind, UID)
    assert reconcile(cluster) is None
    assert (cluster.jobs_by_name, cluster.status_writes) == ({}, 0)


def test_an_object_that_is_being_deleted_starts_nothing() -> None:
    cluster = cluster_with(deletionTimestamp=NOW.isoformat())
    assert reconcile(cluster) is None
    assert (cluster.jobs_by_name, cluster.status_writes) == ({}, 0)


def test_children_come_before_the_status_that_tells_of_them() -> None:
    """Killed in between, the operator finds the Job; the other way round it would tell of one that is not there."""
    cluster = cluster_with()
    cluster.strike = Strike(1, Moment.BEFORE, ClusterError)  # the Job passes, the status does not
    assert reconcile(cluster) == 1
    assert list(cluster.jobs_by_name) == ["math-generate-a1"]
    assert cluster.status_writes == 0


def test_a_refused_child_is_said_and_tried_again() -> None:
    cluster = cluster_with()
    cluster.strike = Strike(0, Moment.BEFORE, ClusterError)
    assert reconcile(cluster) == 1
    ready = next(item for item in cluster.body["status"]["conditions"] if item["type"] == "Ready")
    assert ready["reason"] == "ApplyFailed"
    assert [(notice.type, notice.reason) for notice in cluster.notices] == [("Warning", "ApplyFailed")]


def test_a_refusal_that_lasts_is_said_once_and_tried_ever_more_rarely() -> None:
    """As in a namespace that is being deleted: nothing can be created in it any more, but the object is still there."""
    cluster = cluster_with()
    reconciler = reconciler_of(cluster)
    waits = []
    for _ in range(8):
        cluster.strike = Strike(0, Moment.BEFORE, ClusterError)
        waits.append(asyncio.run(reconciler.reconcile(KEY)))
    assert (cluster.status_writes, len(cluster.notices)) == (1, 1)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_an_api_server_that_is_busy_for_a_moment_is_nobody_s_news() -> None:
    cluster = cluster_with()
    reconciler = reconciler_of(cluster)
    for _ in range(TRIES_BEFORE_SAYING - 1):
        cluster.strike = Strike(0, Moment.BEFORE, BusyError)
        asyncio.run(reconciler.reconcile(KEY))
    assert (cluster.status_writes, cluster.notices) == (0, [])
    cluster.strike = Strike(0, Moment.BEFORE, BusyError)
    asyncio.run(reconciler.reconcile(KEY))
    assert [notice.reason for notice in cluster.notices] == ["ApplyFailed"]


def test_an_api_server_that_asks_to_be_left_alone_is() -> None:
    cluster = cluster_with()
    cluster.strike = Strike(0, Moment.BEFORE, lambda message: BusyError(message, retry_after=17))
    assert reconcile(cluster) == 17


def test_an_error_of_the_planner_s_own_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = cluster_with()
    reconciler = reconciler_of(cluster)

    def fail(*_: object) -> None:
        raise KeyError("stages")

    monkeypatch.setattr("distill_operator.reconcile.decide", fail)
    for _ in range(2):
        assert asyncio.run(reconciler.reconcile(KEY)) is None
    ready = next(item for item in cluster.body["status"]["conditions"] if item["type"] == "Ready")
    assert ready["reason"] == "OperatorError"
    assert "KeyError: 'stages' (fail, line " in ready["message"]
    assert (cluster.status_writes, [notice.type for notice in cluster.notices]) == (1, ["Warning"])


def test_what_it_writes_is_news_to_those_that_wait_for_it() -> None:
    """The watch brings it as well, but then it is no news any more."""
    cluster = cluster_with()
    run = body("FinetuneRun")
    cluster.store.put("FinetuneRun", run)
    concerned: list[ResourceKey] = []
    reconciler = reconciler_of(cluster, concerned.append)
    for _ in range(2):
        asyncio.run(reconciler.reconcile(KEY))
    assert concerned == [KEY, key("FinetuneRun")]
    assert cluster.store.put(KEY.kind, cluster.body) == ()


def test_a_status_waits_for_those_that_have_no_job_yet() -> None:
    """Of a thousand that are created at once, all have their Jobs before the API server is asked to write a status."""
    cluster = cluster_with()
    again: list[ResourceKey] = []
    reconciler = reconciler_of(cluster, again.append)
    assert asyncio.run(reconciler.reconcile(KEY)) is None
    assert (list(cluster.jobs_by_name), cluster.status_writes, again) == (["math-generate-a1"], 0, [KEY])
    asyncio.run(reconciler.reconcile(KEY))
    assert (cluster.status_writes, again) == (1, [KEY])


@pytest.mark.parametrize(
    ("of_job", "asked"), [("uid-math-generate-a1", True), ("another-s", False)], ids=["its own", "a lookalike"]
)
def test_only_pods_of_its_active_jobs_are_asked(of_job: str, asked: bool) -> None:
    job_uid = "uid-math-generate-a1"
    one = running_pod(job(uid=of_job))
    assert (_to_be_asked(UID, [job(uid=job_uid)], [one]) == [one]) is asked
    assert _to_be_asked(UID, [job(uid=job_uid, complete=True)], [one]) == []
    assert _to_be_asked(UID, [job(uid=job_uid, owner_uid="an earlier object")], [one]) == []


def test_an_invalid_child_is_said_and_not_tried_again_for_no_reason() -> None:
    cluster = cluster_with()
    cluster.strike = Strike(0, Moment.BEFORE, InvalidError)
    assert reconcile(cluster) is None
    stalled = next(item for item in cluster.body["status"]["conditions"] if item["type"] == "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "InvalidChild")
    assert [(notice.type, notice.reason) for notice in cluster.notices] == [("Warning", "InvalidChild")]


def test_an_invalid_child_that_stays_so_is_said_once() -> None:
    """The write of the status comes back by the watch, and is an event like any other."""
    cluster = cluster_with()
    for _ in range(2):
        cluster.strike = Strike(0, Moment.BEFORE, InvalidError)
        reconcile(cluster)
        cluster.relist()
    assert cluster.status_writes == 1


def test_a_child_that_was_invalid_is_tried_when_the_operator_starts() -> None:
    cluster = cluster_with()
    cluster.strike = Strike(0, Moment.BEFORE, InvalidError)
    reconcile(cluster)
    cluster.relist()
    reconcile(cluster)
    assert list(cluster.jobs_by_name) == ["math-generate-a1"]
    stalled = next(item for item in cluster.body["status"]["conditions"] if item["type"] == "Stalled")
    assert stalled["status"] == "False"


def test_what_was_decided_on_an_old_reading_is_not_written() -> None:
    """A person has changed the object, and the watch has not said so yet; until it does, there is nothing to do."""
    cluster = cluster_with()
    cluster.toggle_suspend(True)
    reconcile(cluster)
    assert (cluster.status_writes, cluster.notices) == (0, [])


def test_events_follow_the_status() -> None:
    cluster = cluster_with()
    reconcile(cluster)
    assert cluster.status_writes == 1
    assert [notice.reason for notice in cluster.notices] == ["Generating"]

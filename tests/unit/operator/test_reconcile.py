"""One reconciliation at its edges: deletion, refusal, and what is written when."""

import asyncio
from typing import Any

import pytest
from unit.operator.builders import NOW, SETTINGS, body, key
from unit.operator.simulation import SimulatedCluster

from distill_operator.cluster import ClusterError, InvalidError
from distill_operator.metrics import Metrics
from distill_operator.reconcile import Reconciler

KEY = key("DistillDataset")


def cluster_with(**metadata: Any) -> SimulatedCluster:
    return SimulatedCluster(KEY, body("DistillDataset", metadata=metadata))


def reconciler_of(cluster: SimulatedCluster) -> Reconciler:
    return Reconciler(
        cluster,
        cluster,  # type: ignore[arg-type]  # the model stands for the API server and for the Pods
        cluster,  # type: ignore[arg-type]
        SETTINGS,
        Metrics(),
        clock=lambda: cluster.now,
    )


def reconcile(cluster: SimulatedCluster) -> float | None:
    return asyncio.run(reconciler_of(cluster).reconcile(KEY))


def test_a_deleted_object_needs_nothing() -> None:
    cluster = cluster_with()
    cluster.seen["object"].clear()
    assert reconcile(cluster) is None
    assert (cluster.jobs_by_name, cluster.status_writes) == ({}, 0)


def test_an_object_that_is_being_deleted_starts_nothing() -> None:
    cluster = cluster_with(deletionTimestamp=NOW.isoformat())
    assert reconcile(cluster) is None
    assert (cluster.jobs_by_name, cluster.status_writes) == ({}, 0)


def test_children_come_before_the_status_that_tells_of_them() -> None:
    """Killed in between, the operator finds the Job; the other way round it would tell of one that is not there."""
    cluster = cluster_with()
    cluster.writes_until = (2, ClusterError)  # ConfigMap and Job pass, the status does not
    with pytest.raises(ClusterError):
        reconcile(cluster)
    assert list(cluster.jobs_by_name) == ["math-generate-a1"]
    assert cluster.status_writes == 0


def test_a_refused_child_is_said_and_tried_again() -> None:
    cluster = cluster_with()
    cluster.writes_until = (0, ClusterError)
    with pytest.raises(ClusterError, match="refused by the simulation"):
        reconcile(cluster)
    ready = next(item for item in cluster.body["status"]["conditions"] if item["type"] == "Ready")
    assert ready["reason"] == "ApplyFailed"
    assert [(notice.type, notice.reason) for notice in cluster.notices] == [("Warning", "ApplyFailed")]


def test_a_refusal_that_lasts_is_said_once() -> None:
    """As in a namespace that is being deleted: nothing can be created in it any more, but the object is still there."""
    cluster = cluster_with()
    for _ in range(3):
        cluster.writes_until = (0, ClusterError)
        with pytest.raises(ClusterError):
            reconcile(cluster)
        cluster.relist()
    assert (cluster.status_writes, len(cluster.notices)) == (1, 1)


def test_an_invalid_child_is_said_and_not_tried_again_for_no_reason() -> None:
    cluster = cluster_with()
    cluster.writes_until = (1, InvalidError)
    assert reconcile(cluster) is None
    stalled = next(item for item in cluster.body["status"]["conditions"] if item["type"] == "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "InvalidChild")
    assert [(notice.type, notice.reason) for notice in cluster.notices] == [("Warning", "InvalidChild")]


def test_an_invalid_child_that_stays_so_is_said_once() -> None:
    """The write of the status comes back by the watch, and is an event like any other."""
    cluster = cluster_with()
    for _ in range(2):
        cluster.writes_until = (1, InvalidError)
        reconcile(cluster)
        cluster.relist()
    assert cluster.status_writes == 1


def test_a_child_that_was_invalid_is_tried_when_the_operator_starts() -> None:
    cluster = cluster_with()
    cluster.writes_until = (1, InvalidError)
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
    assert reconcile(cluster) is None
    assert (cluster.status_writes, cluster.notices) == (0, [])


def test_what_is_remembered_of_its_own_writes_does_not_add_up() -> None:
    cluster = cluster_with()
    reconciler = reconciler_of(cluster)
    for step in range(20):
        cluster.toggle_suspend(step % 2 == 0)
        cluster.relist()
        asyncio.run(reconciler.reconcile(KEY))
        cluster.relist()
    assert cluster.status_writes == 20
    assert len(reconciler._written[KEY].older) == 1


def test_events_follow_the_status() -> None:
    cluster = cluster_with()
    reconcile(cluster)
    assert cluster.status_writes == 1
    assert [notice.reason for notice in cluster.notices] == ["Generating"]


def test_an_event_that_is_refused_keeps_no_other_from_being_written(caplog: pytest.LogCaptureFixture) -> None:
    cluster = cluster_with()
    reconcile(cluster)
    job = cluster.jobs_by_name["math-generate-a1"]
    cluster.run_job_controller(job)
    cluster.end_pod(next(iter(cluster.pods_by_name.values())), 0)
    cluster.run_job_controller(job)
    cluster.relist()
    cluster.refused_notice = "GenerateSucceeded"
    reconcile(cluster)
    assert [notice.reason for notice in cluster.notices] == ["Generating", "Filtering"]
    assert "no Event for GenerateSucceeded: refused by the simulation" in caplog.text

"""What Kueue is asked, over real HTTP."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from unit.operator.builders import NAMESPACE, NOW, job, key
from unit.operator.test_cluster import connected

from distill_operator.cluster import Cluster
from distill_operator.workloads import WorkloadReader

KEY = key("FinetuneRun")
WAITING = replace(job("FinetuneRun", "train"), suspended=True, local_queue="team-a", uid="job-1")


def workload(job_uid: str, message: str = "2 more needed") -> dict[str, Any]:
    condition = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": message}
    metadata = {"name": f"job-{job_uid}", "namespace": NAMESPACE, "labels": {"kueue.x-k8s.io/job-uid": job_uid}}
    return {"metadata": metadata, "spec": {"active": True}, "status": {"conditions": [condition]}}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def reader(cluster: Cluster, clock: Clock, allowed: bool = True) -> WorkloadReader:
    return WorkloadReader(cluster, clock, allowed=allowed)


async def test_asks_for_the_workload_of_the_job_and_not_again_at_every_look() -> None:
    clock = Clock()
    async with connected() as (cluster, server):
        server.workloads = [workload("job-0", "another's"), workload("job-1")]
        reads = reader(cluster, clock)
        first = await reads.read(KEY, [WAITING])
        assert first["job-1"].pending_message == "2 more needed"
        server.workloads = [workload("job-1", "1 more needed")]
        clock.forward(10)
        assert await reads.read(KEY, [WAITING]) == first
        clock.forward(20)
        assert (await reads.read(KEY, [WAITING]))["job-1"].pending_message == "1 more needed"
    assert len(server.requests) == 4  # of each two, the second is for the place in the queue


async def test_asks_nothing_of_jobs_that_do_not_wait_in_kueue() -> None:
    jobs = [
        replace(WAITING, suspended=False),
        replace(WAITING, local_queue=""),
        replace(WAITING, failed=True),
    ]
    async with connected() as (cluster, server):
        assert await reader(cluster, Clock()).read(KEY, jobs) == {}
    assert server.requests == []


async def test_places_in_a_queue_are_asked_for_once_for_all_that_wait_in_it() -> None:
    others = [replace(WAITING, uid=f"job-{number}") for number in range(3)]
    async with connected() as (cluster, server):
        server.workloads = [workload(job.uid) for job in others]
        reads = reader(cluster, Clock())
        server.visible_queues = {"team-a"}
        found = await reads.read(KEY, others)
    assert [found[job.uid].position for job in others] == [0, 1, 2]
    assert sum("pendingworkloads" in request.path for request in server.requests) == 1


async def test_a_place_that_kueue_does_not_say_is_not_known() -> None:
    async with connected() as (cluster, server):
        server.workloads = [workload("job-1")]
        found = await reader(cluster, Clock()).read(KEY, [WAITING])
    assert (found["job-1"].position, found["job-1"].pending_message) == (None, "2 more needed")


async def test_a_workload_that_is_not_there_yet_is_asked_for_again() -> None:
    async with connected() as (cluster, server):
        server.workloads, reads = [], reader(cluster, Clock())
        assert await reads.read(KEY, [WAITING]) == {}
        server.workloads = [workload("job-1")]
        assert "job-1" in await reads.read(KEY, [WAITING])


async def test_says_why_nothing_is_known() -> None:
    async with connected() as (cluster, server):
        none = await reader(cluster, Clock()).read(KEY, [WAITING])
        server.refusal = (403, "workloads is forbidden")
        forbidden = await reader(cluster, Clock()).read(KEY, [WAITING])
        asked = len(server.requests)
        not_allowed = await reader(cluster, Clock(), allowed=False).read(KEY, [WAITING])
        assert len(server.requests) == asked
    assert (none["job-1"].not_served, "install Kueue, 0.15 or later" in none["job-1"].unreadable) == (True, True)
    assert (forbidden["job-1"].not_served, "is forbidden" in forbidden["job-1"].unreadable) == (False, True)
    assert "set queues.kueue in the chart's values" in not_allowed["job-1"].unreadable

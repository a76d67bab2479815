"""What Kueue says of the Jobs that wait in its queues, asked for while they wait.

Asked for, and not watched: Kueue's Workloads bear no label of ours, so that a watch would be of all in the cluster,
whoever's they are; and an operator whose Kueue is away or not installed begins all the same.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from distill_operator.errors import ClusterError, NotServedError
from distill_operator.observation import JobView, ResourceKey, WorkloadView, view_workload
from distill_operator.plan.following import ASK_QUEUE_EVERY

NOT_ALLOWED = (
    "The operator may not read why: set queues.kueue in the chart's values, or see `kubectl describe workload`."
)

_log = logging.getLogger(__name__)


class Lister(Protocol):
    """What can list the Workloads of a Job."""

    async def workloads_of(self, namespace: str, job_uid: str) -> list[dict[str, Any]]:
        """Give them. Raises `ClusterError`."""

    async def pending_workloads(self, namespace: str, queue: str) -> list[dict[str, Any]]:
        """Give those that wait in a queue, with their positions. Raises `ClusterError`."""


@dataclass(frozen=True)
class _Answer:
    at: datetime
    said: WorkloadView | None


@dataclass(frozen=True)
class _Places:
    """The positions in a queue, by the name of the Workload; none where Kueue does not say them."""

    at: datetime
    by_name: Mapping[str, int]


class WorkloadReader:
    """Asks for the Workload of each Job that waits in a queue of Kueue, at most once in `ASK_QUEUE_EVERY`."""

    def __init__(self, cluster: Lister, clock: Callable[[], datetime], *, allowed: bool) -> None:
        self._cluster = cluster
        self._clock = clock
        self._allowed = allowed
        self._answers: dict[ResourceKey, dict[str, _Answer]] = {}
        self._places: dict[tuple[str, str], _Places] = {}

    async def read(self, key: ResourceKey, jobs: Iterable[JobView]) -> Mapping[str, WorkloadView]:
        """Give what Kueue says of those `jobs` of an object that wait, by the uid of the Job."""
        waiting = [job for job in jobs if job.suspended and job.local_queue and not job.finished]
        if not waiting:
            self.forget(key)
            return {}
        if not self._allowed:
            return {job.uid: WorkloadView(unreadable=NOT_ALLOWED) for job in waiting}
        known, now = self._answers.get(key, {}), self._clock()
        answers = {job.uid: await self._ask(key, job, known.get(job.uid), now) for job in waiting}
        self._answers[key] = answers
        return {uid: answer.said for uid, answer in answers.items() if answer.said is not None}

    def forget(self, key: ResourceKey) -> None:
        """Forget what was said of an object's Jobs."""
        self._answers.pop(key, None)

    async def _ask(self, key: ResourceKey, job: JobView, known: _Answer | None, now: datetime) -> _Answer:
        if known is not None and known.said is not None and _is_fresh(known.at, now):
            return known
        try:
            found = await self._cluster.workloads_of(key.namespace, job.uid)
        except NotServedError as error:
            return _Answer(now, WorkloadView(unreadable=f"{error}", not_served=True))
        except ClusterError as error:
            _log.warning("%s: its Workload cannot be read: %s", key, error)
            return _Answer(now, WorkloadView(unreadable=f"Its Workload cannot be read: {error}"))
        if not found:
            return _Answer(now, None)
        said = view_workload(found[0])
        return _Answer(
            now, replace(said, position=await self._position(key.namespace, job.local_queue, said.name, now))
        )

    async def _position(self, namespace: str, queue: str, workload: str, now: datetime) -> int | None:
        """Give a Workload's place in its queue; all that wait there share one request."""
        places = self._places.get((namespace, queue))
        if places is None or not _is_fresh(places.at, now):
            try:
                pending = await self._cluster.pending_workloads(namespace, queue)
            except ClusterError as error:
                _log.info("the positions in queue %s of %s are not known: %s", queue, namespace, error)
                pending = []
            places = self._places[namespace, queue] = _Places(now, _positions(pending))
        return places.by_name.get(workload)


def _is_fresh(at: datetime, now: datetime) -> bool:
    return now - at < ASK_QUEUE_EVERY - timedelta(seconds=1)


def _positions(pending: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    found = {each["metadata"]["name"]: each.get("positionInLocalQueue") for each in pending}
    return {name: place for name, place in found.items() if isinstance(place, int)}

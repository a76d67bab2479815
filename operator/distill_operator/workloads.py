"""What Kueue says of the Jobs that wait in its queues, asked for while they wait.

Asked for, and not watched: Kueue's Workloads bear no label of ours, so that a watch would be of all in the cluster,
whoever's they are; and an operator whose Kueue is away or not installed begins all the same.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Answer:
    at: datetime
    said: WorkloadView | None


class WorkloadReader:
    """Asks for the Workload of each Job that waits in a queue of Kueue, at most once in `ASK_QUEUE_EVERY`."""

    def __init__(self, cluster: Lister, clock: Callable[[], datetime], *, allowed: bool) -> None:
        self._cluster = cluster
        self._clock = clock
        self._allowed = allowed
        self._answers: dict[ResourceKey, dict[str, _Answer]] = {}

    async def read(self, key: ResourceKey, jobs: Iterable[JobView]) -> Mapping[str, WorkloadView]:
        """Give what Kueue says of those `jobs` of an object that wait, by the uid of the Job."""
        waiting = [job for job in jobs if job.suspended and job.local_queue and not job.finished]
        if not waiting:
            self.forget(key)
            return {}
        if not self._allowed:
            return {job.uid: WorkloadView(unreadable=NOT_ALLOWED) for job in waiting}
        known, now = self._answers.get(key, {}), self._clock()
        answers = {job.uid: await self._ask(key, job.uid, known.get(job.uid), now) for job in waiting}
        self._answers[key] = answers
        return {uid: answer.said for uid, answer in answers.items() if answer.said is not None}

    def forget(self, key: ResourceKey) -> None:
        """Forget what was said of an object's Jobs."""
        self._answers.pop(key, None)

    async def _ask(self, key: ResourceKey, uid: str, known: _Answer | None, now: datetime) -> _Answer:
        if known is not None and known.said is not None and now - known.at < ASK_QUEUE_EVERY - timedelta(seconds=1):
            return known
        try:
            found = await self._cluster.workloads_of(key.namespace, uid)
        except NotServedError as error:
            return _Answer(now, WorkloadView(unreadable=f"{error}", not_served=True))
        except ClusterError as error:
            _log.warning("%s: its Workload cannot be read: %s", key, error)
            return _Answer(now, WorkloadView(unreadable=f"Its Workload cannot be read: {error}"))
        return _Answer(now, view_workload(found[0]) if found else None)

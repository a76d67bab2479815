"""Reconciling one object: observe, plan, apply, report. What happens next depends only on what is in the cluster."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from distill_operator.api import Status
from distill_operator.cluster import Cluster, ClusterError, ConflictError, InvalidError, ObjectGoneError
from distill_operator.metrics import Metrics
from distill_operator.observation import JobView, Observation, PodView, ResourceKey
from distill_operator.plan.decision import Decision, decide, recorded_status, with_apply_error, with_invalid_child
from distill_operator.plan.events import Notice, notices
from distill_operator.plan.status import worth_writing
from distill_operator.progress import ProgressPoller
from distill_operator.settings import Settings

_log = logging.getLogger(__name__)


class Store(Protocol):
    """What the watches know: kept up to date by `handlers`, read here."""

    def resource(self, key: ResourceKey) -> Mapping[str, Any] | None:
        """Give the object that `key` names, if it exists."""

    def jobs(self, key: ResourceKey) -> tuple[JobView, ...]:
        """Give the Jobs of the object, and of earlier ones of its name."""

    def pods(self, key: ResourceKey) -> tuple[PodView, ...]:
        """Give the Pods of the object, and of earlier ones of its name."""

    def dependency(self, key: ResourceKey) -> ResourceKey | None:
        """Give the object that this one waits for, if any."""


class Reconciler:
    """Brings one object at a time closer to its spec."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        poller: ProgressPoller,
        settings: Settings,
        metrics: Metrics,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._poller = poller
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._written: dict[ResourceKey, _Write] = {}

    async def reconcile(self, key: ResourceKey) -> float | None:
        """Take the next step of one object. Gives the seconds after which to look again, or None.

        Raises:
            ClusterError: the API server has not taken a child; the status says so, and the caller should try again. Not
                raised for one that is not valid, which time does not mend.
        """
        resource = self._store.resource(key)
        if resource is None:
            self._written.pop(key, None)
            self._metrics.forget(key)
            self._poller.forget(key)
            return None
        if resource["metadata"].get("deletionTimestamp"):
            return None  # its children go with it, by their ownerReferences
        with self._metrics.reconciliation(key.kind):
            return await self._step(key, self._with_written_status(key, resource))

    async def _step(self, key: ResourceKey, resource: Mapping[str, Any]) -> float | None:
        pods = self._store.pods(key)
        observation = Observation(
            resource=resource,
            jobs=self._store.jobs(key),
            pods=pods,
            dependency=self._dependency(key),
            progress=await self._poller.poll(key, pods),
        )
        now = self._clock().replace(microsecond=0)
        decision = decide(key, observation, self._settings, now)
        error = await self._carry_out(key, decision)
        invalid = isinstance(error, InvalidError)
        if error is not None:
            said = with_invalid_child if invalid else with_apply_error
            decision = said(key, observation, decision, str(error), now)
        deferred = await self._report(key, observation, decision.status, now)
        if error is not None and not invalid:
            raise error
        return self._next_look(key, decision, deferred)

    def _dependency(self, key: ResourceKey) -> Mapping[str, Any] | None:
        dependency = self._store.dependency(key)
        return self._store.resource(dependency) if dependency is not None else None

    async def _carry_out(self, key: ResourceKey, decision: Decision) -> ClusterError | None:
        try:
            for job in decision.delete:
                _log.info("%s: deleting Job %s", key, job.name)
                await self._cluster.delete_job(key.namespace, job.name, job.uid)
            for manifest in decision.create:
                _log.info("%s: applying %s %s", key, manifest["kind"], manifest["metadata"]["name"])
                await self._cluster.apply(manifest)
                self._metrics.child_applied(manifest["kind"], key.namespace)
        except ClusterError as error:
            return error
        return None

    async def _report(self, key: ResourceKey, observation: Observation, status: Status, now: datetime) -> float | None:
        """Write the status if it is worth it, then the Events. Gives the seconds that a write was put off."""
        self._metrics.observe(key, status)
        old = recorded_status(key.kind, observation.resource)
        interval = self._settings.progress_interval_seconds
        write = self._written.get(key)
        age = (self._clock() - write.at).total_seconds() if write is not None else interval
        if not worth_writing(old, status, age, interval):
            return max(0.1, interval - age) if status != old else None
        body, read = status.to_json(), observation.resource["metadata"]["resourceVersion"]
        try:
            version = await self._cluster.apply_status(key, read, body)
        except ObjectGoneError:
            _log.info("%s: deleted meanwhile", key)
            return None
        except ConflictError:
            _log.info("%s: changed meanwhile", key)  # the watch brings the change, and with it the next look
            return None
        self._metrics.status_written(key.kind, key.namespace)
        older = write.older if write is not None and write.version == read else frozenset()
        self._written[key] = _Write(older | {read}, version, body, self._clock())
        for notice in notices(old, status):
            await self._emit(key, observation.uid, notice)
        return None

    async def _emit(self, key: ResourceKey, uid: str, notice: Notice) -> None:
        """Post an Event. One that is refused is in the log only: what it tells is in the status, which is written."""
        _log.info("%s: %s: %s", key, notice.reason, notice.message)
        try:
            await self._cluster.emit(key, uid, notice, self._clock())
        except ClusterError as error:
            _log.error("%s: no Event for %s: %s", key, notice.reason, error)

    def _with_written_status(self, key: ResourceKey, resource: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put the status that was written last over an object whose own update has not come back by the watch yet."""
        write = self._written.get(key)
        if write is None:
            return resource
        if resource["metadata"]["resourceVersion"] not in write.older:
            self._written[key] = replace(write, older=frozenset())  # the watch has caught up
            return resource
        metadata = {**resource["metadata"], "resourceVersion": write.version}
        return {**resource, "metadata": metadata, "status": write.status}

    def _next_look(self, key: ResourceKey, decision: Decision, deferred: float | None) -> float | None:
        """Give the seconds until time alone, without an event, is a reason to look again."""
        polls = self._poller.next_poll_seconds(key)
        planned = decision.look_again_after.total_seconds() if decision.look_again_after is not None else None
        return min((seconds for seconds in (polls, deferred, planned) if seconds is not None), default=None)


@dataclass(frozen=True)
class _Write:
    """The last status write of one object.

    `older` holds the resourceVersions that it came upon, one after the other; nobody else has written in between.
    """

    older: frozenset[str]
    version: str
    status: Mapping[str, Any]
    at: datetime

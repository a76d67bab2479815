"""Reconciling one object: observe, plan, apply, report. What happens next depends only on what is in the cluster."""

import logging
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from distill_operator.api import Status
from distill_operator.edges import ProgressSource, Store, Writer
from distill_operator.errors import BusyError, ClusterError, ConflictError, InvalidError, ObjectGoneError
from distill_operator.metrics import Metrics
from distill_operator.observation import JobView, Observation, PodView, ResourceKey
from distill_operator.plan.decision import (
    Decision,
    decide,
    recorded_status,
    with_apply_error,
    with_invalid_child,
    with_operator_error,
)
from distill_operator.plan.events import Notice, notices
from distill_operator.plan.status import worth_writing
from distill_operator.settings import Settings
from distill_operator.store import WATCHED_KINDS
from distill_operator.work_queue import backoff_seconds

TRIES_BEFORE_SAYING = 3
"""Times in a row that the API server is too busy for an object before its status says so: a hiccup is nobody's news."""
CONFLICT_SECONDS = 5.0
"""After which to look again if the watch has not brought the change that a status write was refused for."""

_log = logging.getLogger(__name__)


class Reconciler:
    """Brings one object at a time closer to its spec.

    `concern` is called with what is to be looked at: others to which this object's new status is news, and the object
    itself behind all that wait, once its Job is there. `announce` is called with what a person wants to find in
    `kubectl describe`, once the status has it.
    """

    def __init__(
        self,
        store: Store,
        cluster: Writer,
        poller: ProgressSource,
        settings: Settings,
        metrics: Metrics,
        clock: Callable[[], datetime],
        concern: Callable[[ResourceKey], None],
        announce: Callable[[ResourceKey, str, Notice], None],
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._poller = poller
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._concern = concern
        self._announce = announce
        self._written_at: dict[ResourceKey, datetime] = {}
        self._refusals: dict[ResourceKey, int] = {}

    async def reconcile(self, key: ResourceKey) -> float | None:
        """Take the next step of one object. Gives the seconds after which to look again, or None."""
        resource = self._store.resource(key)
        if resource is None:
            self._forget(key)
            return None
        if resource["metadata"].get("deletionTimestamp"):
            self._poller.forget(key)
            return None  # its children go with it, by their ownerReferences
        try:
            with self._metrics.reconciliation(key.kind):
                wait = await self._step(key, resource)
        except ClusterError as error:
            return self._try_again(key, error)
        self._refusals.pop(key, None)
        return wait

    def _forget(self, key: ResourceKey) -> None:
        self._written_at.pop(key, None)
        self._refusals.pop(key, None)
        self._metrics.forget(key)
        self._poller.forget(key)

    async def _step(self, key: ResourceKey, resource: Mapping[str, Any]) -> float | None:
        observation = self._observe(key, resource)
        now = self._clock().replace(microsecond=0)
        decision = self._decide(key, observation, now)
        if decision.confirm:
            self._store.take_pods(key, await self._cluster.list_pods(key))
            observation = replace(self._observe(key, resource), confirmed=True)
            decision = self._decide(key, observation, now)
        error = await self._carry_out(key, decision)
        if isinstance(error, BusyError) and self._refusals.get(key, 0) + 1 < TRIES_BEFORE_SAYING:
            raise error
        invalid = isinstance(error, InvalidError)
        if error is not None:
            said = with_invalid_child if invalid else with_apply_error
            decision = said(key, observation, decision, str(error), now)
        elif decision.create:
            # Work before words: of a thousand objects that are created at once, all have their Jobs before the API
            # server is asked to write what is said of them. The next look finds the Job, and says how it is.
            self._concern(key)
            return None
        deferred = await self._report(key, observation, decision.status, now)
        if error is not None and not invalid:  # time does not mend what is not valid
            raise error
        planned = decision.look_again_after.total_seconds() if decision.look_again_after is not None else None
        return min((seconds for seconds in (deferred, planned) if seconds is not None), default=None)

    def _try_again(self, key: ResourceKey, error: ClusterError) -> float:
        refusals = self._refusals[key] = self._refusals.get(key, 0) + 1
        asked_for = error.retry_after if isinstance(error, BusyError) else 0.0
        pause = max(backoff_seconds(refusals), asked_for)
        _log.warning("%s: %s; next try in %g s", key, error, pause)
        return pause

    def _observe(self, key: ResourceKey, resource: Mapping[str, Any]) -> Observation:
        uid, jobs, pods = resource["metadata"]["uid"], self._store.jobs(key), self._store.pods(key)
        dependencies = {each: self._store.resource(each) for each in self._store.dependencies(key)}
        return Observation(
            resource=resource,
            jobs=jobs,
            pods=pods,
            dependencies={each: body for each, body in dependencies.items() if body is not None},
            progress=self._poller.follow(key, _to_be_asked(uid, jobs, pods)),
        )

    def _decide(self, key: ResourceKey, observation: Observation, now: datetime) -> Decision:
        """Decide. What the planner does not cope with is said where a person looks, once."""
        try:
            return decide(key, observation, self._settings, now)
        except Exception as error:  # noqa: BLE001 - the boundary: no object may stop the others, nor come to nothing unsaid
            _log.exception("%s: the operator's own error in deciding", key)
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__}: {error} ({place.name}, line {place.lineno})"
            return with_operator_error(key, observation, what, now)

    async def _carry_out(self, key: ResourceKey, decision: Decision) -> ClusterError | None:
        try:
            for job in decision.delete:
                _log.info("%s: deleting Job %s", key, job.name)
                await self._cluster.delete_job(key.namespace, job.name, job.uid)
            for manifest in decision.create:
                _log.info("%s: creating %s %s", key, manifest["kind"], manifest["metadata"]["name"])
                created = await self._cluster.create(manifest)
                self._metrics.child_created(manifest["kind"], key.namespace)
                if manifest["kind"] in WATCHED_KINDS:
                    self._store.put(manifest["kind"], created)
        except ClusterError as error:
            return error
        return None

    async def _report(self, key: ResourceKey, observation: Observation, status: Status, now: datetime) -> float | None:
        """Write the status if it is worth it, then the Events. Gives the seconds that a write was put off."""
        self._metrics.observe(key, status)
        old = recorded_status(key.kind, observation.resource)
        interval = self._settings.progress_interval_seconds
        written_at = self._written_at.get(key)
        age = (self._clock() - written_at).total_seconds() if written_at is not None else interval
        if not worth_writing(old, status, age, interval):
            return max(0.1, interval - age) if status != old else None
        version = observation.resource["metadata"]["resourceVersion"]
        try:
            written = await self._cluster.apply_status(key, version, status.to_json())
        except ObjectGoneError:
            _log.info("%s: deleted meanwhile", key)
            return None
        except ConflictError:
            _log.info("%s: changed meanwhile", key)  # the watch brings the change, and with it the next look
            return CONFLICT_SECONDS
        self._written_at[key] = self._clock()
        self._metrics.status_written(key.kind, key.namespace)
        self._take_in(key, written)
        for notice in notices(old, status):
            self._announce(key, observation.uid, notice)
        return None

    def _take_in(self, key: ResourceKey, written: Mapping[str, Any]) -> None:
        """Know what was written before the watch brings it, unless that has brought the object's end meanwhile."""
        if self._store.resource(key) is not None:
            for concerned in self._store.put(key.kind, written):
                if concerned != key:
                    self._concern(concerned)


def _to_be_asked(uid: str, jobs: Iterable[JobView], pods: Iterable[PodView]) -> list[PodView]:
    """Give the running Pods of the object's Jobs that have not ended: no other is asked, whatever labels it has."""
    active = {job.uid for job in jobs if job.owner_uid == uid and not job.finished}
    return [pod for pod in pods if pod.running and pod.job_uid in active]

"""An object's children put into buckets, before anything is decided: whose they are, and how each Job stands.

A Job is the object's own if the object controls it, by its ownerReferences, and if it bears the name that stage and
attempt give; a Pod belongs to the Job that controls it. Labels prove nothing: they are copied along by whoever copies a
manifest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from distill_operator.observation import JobView, Observation, PodView, ResourceKey
from distill_operator.plan.stages import job_name
from distill_runtime.contract import Progress


@dataclass(frozen=True)
class Attempt:
    """One Job of a stage, with its Pods."""

    job: JobView
    pods: tuple[PodView, ...]


@dataclass(frozen=True)
class Buckets:
    """The attempts of one stage by how their Jobs stand, each in the order of their numbers.

    `complete` and `failed` hold those that are not older than what is recorded, `earlier` the ended ones that are.
    """

    ending: tuple[Attempt, ...]
    active: tuple[Attempt, ...]
    complete: tuple[Attempt, ...]
    failed: tuple[Attempt, ...]
    earlier: tuple[Attempt, ...]

    @property
    def ended(self) -> tuple[Attempt, ...]:
        """All whose Jobs run no more Pods, in the order of their numbers."""
        return tuple(sorted((*self.earlier, *self.complete, *self.failed), key=_number))

    def from_newest_on(self, current: int) -> "Buckets":
        """Give them without Jobs that are being deleted although there is a newer attempt: these were given up."""
        newest = max((current, *(attempt.job.attempt for attempt in self.all)))
        return replace(self, ending=tuple(attempt for attempt in self.ending if attempt.job.attempt >= newest))

    @property
    def all(self) -> tuple[Attempt, ...]:
        """All attempts of which there is a Job."""
        return (*self.ended, *self.ending, *self.active)


@dataclass(frozen=True)
class Children:
    """The Jobs and Pods that are known under one object's name: its own Jobs, and those that are not."""

    key: ResourceKey
    uid: str
    jobs: tuple[JobView, ...]
    strange_jobs: tuple[JobView, ...]
    pods: tuple[PodView, ...]
    progress: Mapping[str, Progress]
    confirmed: bool
    """Whether the Pods are as they are, see `Observation.confirmed`."""

    @property
    def unfinished_jobs(self) -> tuple[JobView, ...]:
        """The object's Jobs that run and have not been told to end."""
        return tuple(job for job in self.jobs if not job.finished and not job.deleting)

    @property
    def unfinished_pods(self) -> tuple[PodView, ...]:
        """The Pods of the object's Jobs, and of deleted ones, that have not ended."""
        return tuple(pod for pod in self.pods if pod.job_uid and pod.owner_uid == self.uid and not pod.finished)

    def buckets(self, stage: str, current: int) -> Buckets:
        """Sort the attempts of a stage; `current` is the number of the one that is recorded."""
        attempts = sorted(
            (Attempt(job, self._pods_of(job)) for job in self.jobs if job.stage == stage),
            key=_number,
        )
        ended = [attempt for attempt in attempts if attempt.job.finished]
        unfinished = [attempt for attempt in attempts if not attempt.job.finished]
        late = [attempt for attempt in ended if attempt.job.attempt >= current]
        return Buckets(
            ending=tuple(attempt for attempt in unfinished if attempt.job.deleting),
            active=tuple(attempt for attempt in unfinished if not attempt.job.deleting),
            complete=tuple(attempt for attempt in late if attempt.job.complete),
            failed=tuple(attempt for attempt in late if attempt.job.failed),
            earlier=tuple(attempt for attempt in ended if attempt.job.attempt < current),
        )

    def output_of(self, stage: str) -> str | None:
        """Give where the newest Job of a stage writes to, if there is one."""
        jobs = sorted((job for job in self.jobs if job.stage == stage), key=lambda job: job.attempt)
        return jobs[-1].output if jobs else None

    def _pods_of(self, job: JobView) -> tuple[PodView, ...]:
        return tuple(pod for pod in self.pods if pod.job_uid == job.uid)


def sort_children(key: ResourceKey, observation: Observation) -> Children:
    """Tell the object's own children from what merely bears its labels."""
    own: list[JobView] = []
    strange: list[JobView] = []
    for job in observation.jobs:
        is_own = job.owner_uid == observation.uid and job.name == job_name(key.name, job.stage, job.attempt)
        (own if is_own else strange).append(job)
    return Children(
        key=key,
        uid=observation.uid,
        jobs=tuple(own),
        strange_jobs=tuple(strange),
        pods=observation.pods,
        progress=observation.progress,
        confirmed=observation.confirmed,
    )


def _number(attempt: Attempt) -> int:
    return attempt.job.attempt

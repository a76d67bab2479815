"""One stage's attempts: start a Job, watch it, take its result, or start the next from what the last one left."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from distill_operator.api import StageState, StageStatus
from distill_operator.api.common import Artifact, StageInput
from distill_operator.observation import JobView, Observation, PodView, ResourceKey
from distill_operator.plan.failures import (
    NO_PODS_AFTER,
    Failure,
    disruption,
    failure,
    obstacle,
    stuck_terminating,
    unreadable_result,
    until_overdue,
)
from distill_operator.plan.manifests import attempt_manifests, job_name
from distill_operator.plan.reports import merge_progress, merge_results
from distill_operator.plan.stages import Blocked, Invalid, Outline, Stage, Teamwork, Waiting
from distill_operator.settings import Settings
from distill_runtime.contract import Progress, Result

HEARD_AFTER = timedelta(seconds=10)
"""A Job's end and its Pods' last words arrive by two watches: silence means something only after this."""
FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(minutes=6)
"""The pause before an attempt doubles with each that fails soon, from the one to the other, as a Job's does between its
Pods: a fault of the storage or of a node often passes."""
SOON = timedelta(minutes=10)


@dataclass(frozen=True)
class Step:
    """Where a stage stands now, why, and what is to be done for it.

    `look_again_after` is set where time alone, without any event, changes what is to be done; `blocked` where a Job
    should be started and cannot be.
    """

    status: StageStatus
    reason: str = ""
    message: str = ""
    create: tuple[dict[str, Any], ...] = ()
    delete: tuple[JobView, ...] = ()
    look_again_after: timedelta | None = None
    blocked: Waiting | Invalid | None = None


@dataclass(frozen=True)
class _Ended:
    """Why an attempt ended, and how long it is until the next."""

    cause: Failure
    pause: timedelta


def step_stage(
    key: ResourceKey,
    stage: Stage | Blocked,
    recorded: StageStatus | None,
    observation: Observation,
    settings: Settings,
    now: datetime,
) -> Step:
    """Decide the next step of a stage that has not been recorded as Succeeded."""
    jobs = [job for job in observation.jobs if job.stage == stage.name and job.owner_uid == observation.uid]
    if not jobs:
        attempt = recorded.attempt if recorded is not None else 1
        return _start(key, stage, attempt, recorded, observation, settings, now)
    job = max(jobs, key=lambda job: job.attempt)
    pods = _pods_of(job, observation)
    if recorded is not None and _is_failure_of(recorded, job):
        return _failed(recorded)  # said once: the Pods that told why may be gone by now
    before = _continued(stage, job, recorded, now)
    before = before.model_copy(update={"disrupted": _disrupted(stage, jobs, before, observation)})
    step = _unless_failed(stage, job, pods, before, observation, now)
    if step is not None:
        return step
    told = all(pod.finished for pod in pods) and any(pod.phase == "Failed" for pod in pods)
    if not told and not _heard(job, pods, now):
        return Step(before, stage.reason, f"Job {job.name} has failed; reading why.", look_again_after=HEARD_AFTER)
    cause = failure(job, pods)
    if not cause.final:
        cause = disruption(stage, job, pods) or cause
    if not cause.final and job.attempt - len(before.disrupted) < stage.max_attempts:
        ended = _Ended(cause, _pause_left(jobs, job, before.disrupted, now))
        return _start(key, stage, job.attempt + 1, before, observation, settings, now, ended)
    return _failed(_with_failure(before, job, cause))


def _pods_of(job: JobView, observation: Observation) -> list[PodView]:
    return [pod for pod in observation.pods if pod.job_uid == job.uid]


def _disrupted(
    stage: Outline, jobs: Sequence[JobView], before: StageStatus, observation: Observation
) -> tuple[int, ...]:
    """Give the attempts that were disrupted: those that are recorded, and those that Jobs and Pods still tell of."""
    told = {job.attempt for job in jobs if disruption(stage, job, _pods_of(job, observation)) is not None}
    return tuple(sorted({*before.disrupted, *told}))


def _unless_failed(
    stage: Outline, job: JobView, pods: Sequence[PodView], before: StageStatus, observation: Observation, now: datetime
) -> Step | None:
    """Give the step of a Job that is active, complete or being deleted; None of one that has failed."""
    if job.deleting:
        return _wait_for_end(stage, before, f"Job {job.name} is being deleted; waiting for its Pods to end.", pods, now)
    if not job.finished:
        return _active(stage, job, pods, before, observation, now)
    if job.complete:
        return _complete(stage, job, pods, before, now)
    return None


def _wait_for_end(stage: Outline, status: StageStatus, message: str, pods: Sequence[PodView], now: datetime) -> Step:
    """Wait for Pods that have been told to end; one that does not is what there is to say."""
    stuck = stuck_terminating(pods, now)
    reason, said = (stuck.reason, stuck.message) if stuck is not None else (stage.reason, message)
    return Step(status, reason, said, look_again_after=until_overdue(pods, now))


def _start(
    key: ResourceKey,
    stage: Stage | Blocked,
    attempt: int,
    recorded: StageStatus | None,
    observation: Observation,
    settings: Settings,
    now: datetime,
    last: _Ended | None = None,
) -> Step:
    """Start an attempt: the first, one whose Job was deleted, or the one after `last`."""
    cause, pause = (last.cause, last.pause) if last is not None else (None, timedelta())
    if isinstance(stage, Blocked):
        return _not_started(stage, recorded, cause)
    name = job_name(key.name, stage.name, attempt)
    started = recorded.started_at if recorded is not None and recorded.started_at is not None else now
    message = f"Job {name} starts."
    if cause is not None:
        when = f" after a pause, at {now + pause:%H:%M:%S} UTC" if pause > timedelta() else ""
        message = (
            f"Attempt {attempt - 1} failed ({cause.reason}: {cause.message}); attempt {attempt} goes on from it{when}."
        )
    status = StageStatus(
        name=stage.name,
        state=StageState.PENDING,
        attempt=attempt,
        job=name,
        output=stage.contract.output,
        started_at=started,
        message=message,
        reason=cause.reason if cause is not None else None,
        disrupted=tuple(earlier for earlier in _recorded_disruptions(recorded) if earlier < attempt),
        **_figures(recorded),
    )
    leftover = [pod for pod in observation.pods if pod.owner_uid == observation.uid and not pod.finished]
    if leftover:  # a Job deleted by hand is gone before its Pods are: two Pods of one index would write the same files
        waiting = f"Waiting for Pod {leftover[0].name} of an earlier Job to end."
        return _wait_for_end(stage, status, waiting, leftover, now)
    if pause > timedelta():
        return Step(status, stage.reason, message, look_again_after=pause)
    manifests = attempt_manifests(key, observation.uid, stage, attempt, settings)
    return Step(status, stage.reason, message, create=tuple(manifests))


def _pause_left(jobs: Sequence[JobView], failed: JobView, disrupted: Collection[int], now: datetime) -> timedelta:
    """Give how long the attempt after `failed` has to wait; after a disruption it need not."""
    if failed.attempt in disrupted or failed.finished_at is None:
        return timedelta()
    soon = 0
    for job in sorted(jobs, key=lambda job: job.attempt, reverse=True):
        if job.attempt in disrupted or not _failed_soon(job):
            break
        soon += 1
    return failed.finished_at + min(FIRST_PAUSE * 2.0 ** max(soon - 1, 0), LONGEST_PAUSE) - now


def _failed_soon(job: JobView) -> bool:
    return job.created_at is not None and job.finished_at is not None and job.finished_at - job.created_at < SOON


def _not_started(stage: Blocked, recorded: StageStatus | None, cause: Failure | None) -> Step:
    status = recorded or StageStatus(name=stage.name, state=StageState.PENDING)
    if cause is not None:
        said = {"message": f"Attempt {status.attempt} failed ({cause.reason}: {cause.message}).", "rate": None}
        status = status.model_copy(update={"state": StageState.PENDING, "eta_seconds": None, **said})
    return Step(status, stage.by.reason, stage.by.message, blocked=stage.by)


def _continued(stage: Outline, job: JobView, recorded: StageStatus | None, now: datetime) -> StageStatus:
    """Give the recorded status of the same attempt, or a fresh one for a Job that is not recorded yet."""
    if recorded is not None and recorded.attempt == job.attempt and recorded.state is not StageState.FAILED:
        return recorded.model_copy(update={"job": job.name})
    return StageStatus(
        name=stage.name,
        state=StageState.PENDING,
        attempt=job.attempt,
        job=job.name,
        output=recorded.output if recorded is not None else None,
        started_at=(recorded.started_at if recorded is not None else None) or job.created_at or now,
        disrupted=_recorded_disruptions(recorded),
        **_figures(recorded),
    )


def _recorded_disruptions(recorded: StageStatus | None) -> tuple[int, ...]:
    return recorded.disrupted if recorded is not None else ()


def _figures(recorded: StageStatus | None) -> dict[str, Any]:
    """What was reported last stays visible until something newer is: a restart does not begin at zero."""
    if recorded is None:
        return {}
    kept = ("done", "total", "unit", "counts", "metrics")
    return {name: getattr(recorded, name) for name in kept}


def _active(
    stage: Outline, job: JobView, pods: Sequence[PodView], before: StageStatus, observation: Observation, now: datetime
) -> Step:
    """Say how the Pods of a Job that has not ended are doing."""
    hindrance = obstacle(stage, job, pods, now)
    if any(pod.running for pod in pods) and (hindrance is None or stage.teamwork is Teamwork.SHARDS):
        progress = merge_progress(pods, observation.progress, stage.pods, stage.teamwork)
        update = {"state": StageState.RUNNING, "message": None, **_reported(progress)}
        if hindrance is not None:  # the other shards go on meanwhile
            update["message"] = hindrance.message
        status = before.model_copy(update=update)
        return Step(status, stage.reason, describe(stage, status), look_again_after=until_overdue(pods, now))
    has_ended_pods = bool(pods) or job.ended_pods > 0
    if hindrance is None and has_ended_pods and all(pod.finished for pod in pods):
        return Step(
            before, stage.reason, f"The Pods of Job {job.name} have ended; waiting for what the Job makes of it."
        )
    reason, message = stage.reason, f"Waiting for the Pods of Job {job.name} to start."
    if hindrance is not None:
        reason, message = hindrance.reason, hindrance.message
    update = {"state": StageState.PENDING, "message": message, "rate": None, "eta_seconds": None}
    look_again_after = until_overdue(pods, now) if pods else NO_PODS_AFTER
    return Step(before.model_copy(update=update), reason, message, look_again_after=look_again_after)


def _reported(progress: Progress | None) -> dict[str, Any]:
    if progress is None:
        return {}
    return {
        "done": progress.done,
        "total": progress.total,
        "unit": progress.unit,
        "rate": round(progress.rate, 2) if progress.rate is not None else None,
        "eta_seconds": round(progress.eta_seconds) if progress.eta_seconds is not None else None,
        "message": progress.message or None,
        "counts": progress.counts,
        "metrics": _readable(progress.metrics),
    }


def _readable(metrics: Mapping[str, float]) -> dict[str, float]:
    """Leave fractions six digits, which nobody measures to more; an artifact's manifest has them all."""
    return {name: value if value.is_integer() else float(f"{value:.6g}") for name, value in metrics.items()}


def describe(stage: Outline, status: StageStatus) -> str:
    """Say in one line how a running stage is doing."""
    parts = [stage.reason]
    if status.done is not None and status.unit:
        amount = f"{status.done}" if status.total is None else f"{status.done} of {status.total}"
        parts.append(f"{amount} {status.unit}")
    if status.rate:
        parts.append(f"{status.rate:g} a second")
    if status.eta_seconds is not None and status.rate:
        parts.append(f"{timedelta(seconds=status.eta_seconds)} left")
    text = ", ".join(parts)
    if status.attempt > 1:
        text += f" (attempt {status.attempt})"
    return f"{text}. {status.message}" if status.message else f"{text}."


def _complete(stage: Outline, job: JobView, pods: Sequence[PodView], before: StageStatus, now: datetime) -> Step:
    result = merge_results(pods, stage.pods, stage.teamwork)
    if result is not None:
        return Step(_succeeded(before, job, result))
    if not _heard(job, pods, now):
        return Step(
            before, stage.reason, f"Job {job.name} is complete; reading its result.", look_again_after=HEARD_AFTER
        )
    if cause := unreadable_result(pods):
        return _failed(_with_failure(before, job, cause))
    message = f"The result of Job {job.name} was lost with its Pods; running it again, which picks up what is complete."
    return Step(before.model_copy(update={"message": message}), stage.reason, message, delete=(job,))


def _heard(job: JobView, pods: Sequence[PodView], now: datetime) -> bool:
    """Whether all that the Pods of an ended Job had to say must have arrived."""
    if any(not pod.finished for pod in pods):
        return False
    return job.finished_at is None or now - job.finished_at > HEARD_AFTER


def _succeeded(before: StageStatus, job: JobView, result: Result) -> StageStatus:
    artifact = result.artifact
    return before.model_copy(
        update={
            "state": StageState.SUCCEEDED,
            "finished_at": job.finished_at,
            "done": before.total if before.total is not None else before.done,
            "rate": None,
            "eta_seconds": None,
            "message": result.message,
            "reason": None,
            "counts": result.counts,
            "metrics": _readable(result.metrics),
            "inputs": tuple(StageInput.model_validate(each.model_dump()) for each in result.inputs),
            "artifact": Artifact(uri=artifact.uri, digest=artifact.digest) if artifact is not None else None,
        }
    )


def _is_failure_of(recorded: StageStatus, job: JobView) -> bool:
    same_end = recorded.attempt == job.attempt and recorded.finished_at == job.finished_at
    return recorded.state is StageState.FAILED and same_end


def _with_failure(before: StageStatus, job: JobView, cause: Failure) -> StageStatus:
    remedy = (
        f"Correct what is on the claim and `kubectl delete job {job.name}`, which runs the stage again; "
        "or, if it is the spec, create the object again with it corrected"
        if cause.final
        else f"When the cause is mended, `kubectl delete job {job.name}` runs the stage again, from where it was"
    )
    return before.model_copy(
        update={
            "state": StageState.FAILED,
            "finished_at": job.finished_at,
            "rate": None,
            "eta_seconds": None,
            "message": f"{cause.message.rstrip('.')}. {remedy}.",
            "reason": cause.reason,
        }
    )


def _failed(status: StageStatus) -> Step:
    attempts = f" after {status.attempt} attempts" if status.attempt > 1 else ""
    return Step(status, status.reason or "", f"Stage {status.name} failed{attempts}: {status.message}")

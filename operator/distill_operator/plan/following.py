"""What is said of a Job that has not ended: how far its Pods are, or why they do not run."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from distill_operator.api import StageState, StageStatus
from distill_operator.plan import attempt_records
from distill_operator.plan.buckets import Attempt
from distill_operator.plan.merging import merge_progress, readable
from distill_operator.plan.obstacles import obstacle, stuck_terminating, until_overdue, until_pods_are_due
from distill_operator.plan.placement import given_back_at
from distill_operator.plan.stages import Blocked, Outline, Stage, Teamwork
from distill_operator.plan.steps import Step
from distill_runtime.contract import Progress

ASK_QUEUE_EVERY = timedelta(seconds=30)
"""How often a queue is asked why a Job waits in it."""


def waiting_for_pods(job: str) -> str:
    """Say that a Job has been asked for and does not run yet: the same from before it is there until its Pods start.

    So a burst of objects costs one status write each, however long their Jobs take.
    """
    return f"Waiting for the Pods of Job {job} to start."


def wait_for_end(stage: Outline, status: StageStatus, attempt: Attempt, now: datetime) -> Step:
    """Wait for the Pods of a Job that is being deleted; one that does not end is what there is to say."""
    stuck = stuck_terminating(attempt.pods, now)
    reason, message = stage.reason, f"Job {attempt.job.name} is being deleted; waiting for its Pods to end."
    if stuck is not None:
        reason, message = stuck.reason, stuck.message
    return Step(status, reason, message, look_again_after=until_overdue(attempt.pods, now))


def follow(
    planned: Stage | Blocked, attempt: Attempt, before: StageStatus, progress: Mapping[str, Progress], now: datetime
) -> Step:
    """Say how the Pods of an active Job are doing."""
    stage, job, pods = planned.outline, attempt.job, attempt.pods
    hindrance = obstacle(planned, attempt, now)
    if any(pod.running for pod in pods) and (hindrance is None or stage.teamwork is Teamwork.SHARDS):
        said = merge_progress(pods, progress, stage.pods, stage.teamwork)
        update = {"state": StageState.RUNNING, "message": None, **_reported(said)}
        if hindrance is not None:  # the other shards go on meanwhile
            update["message"] = hindrance.message
        status = before.model_copy(update=update)
        if stage.fenced:
            metrics = said.metrics if said is not None else {}
            attempts = attempt_records.running(before, attempt, metrics, status.done).attempts
            status = status.model_copy(update={"attempts": attempts})
        look_again_after = _soonest(until_overdue(pods, now), _until_given_back(stage, attempt, now))
        return Step(status, stage.reason, describe(stage, status), look_again_after=look_again_after)
    has_ended_pods = bool(pods) or job.ended_pods > 0
    if hindrance is None and has_ended_pods and all(pod.finished for pod in pods):
        return Step(
            before, stage.reason, f"The Pods of Job {job.name} have ended; waiting for what the Job makes of it."
        )
    reason, message = stage.reason, waiting_for_pods(job.name)
    if hindrance is not None:
        reason, message = hindrance.reason, hindrance.message
    update = {"state": StageState.PENDING, "message": message, "rate": None, "eta_seconds": None}
    look_again_after = _soonest(
        until_overdue(pods, now) if pods else until_pods_are_due(job, now),
        _until_given_back(stage, attempt, now),
        ASK_QUEUE_EVERY if job.suspended and job.local_queue else None,
    )
    return Step(before.model_copy(update=update), reason, message, look_again_after=look_again_after)


def _until_given_back(stage: Outline, attempt: Attempt, now: datetime) -> timedelta | None:
    due = given_back_at(stage, attempt.job, attempt.pods)
    return due - now if due is not None else None


def _soonest(*times: timedelta | None) -> timedelta | None:
    return min((time for time in times if time is not None), default=None)


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
        "metrics": readable(progress.metrics),
    }

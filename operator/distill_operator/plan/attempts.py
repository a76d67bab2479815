"""One stage's attempts: which Job is looked at, what its end means, and which attempt is to be started."""

from dataclasses import replace
from datetime import datetime, timedelta

from distill_operator.api import StageState, StageStatus
from distill_operator.plan import attempt_records, placement
from distill_operator.plan.buckets import Attempt, Buckets, Children
from distill_operator.plan.ends import cause_of, cause_of_giving_up, succeeded, with_failure
from distill_operator.plan.failures import (
    FAULTS_OF_A_NODE,
    Failure,
    disruption,
    unreadable_result,
)
from distill_operator.plan.following import follow, wait_for_end, waiting_for_pods
from distill_operator.plan.leftovers import in_the_way
from distill_operator.plan.merging import merge_results
from distill_operator.plan.obstacles import cannot_be_ended, stuck_terminating, until_overdue
from distill_operator.plan.queues import elsewhere
from distill_operator.plan.restarts import may_go_on, next_attempt, pause_left, retried
from distill_operator.plan.stages import Blocked, Invalid, Outline, Stage, Waiting, job_name
from distill_operator.plan.steps import Step

HEARD_AFTER = timedelta(seconds=10)
"""A Job's end and its Pods' last words arrive by two watches: silence means something only after this."""


def step_stage(
    planned: Stage | Blocked, recorded: StageStatus | None, children: Children, retry: int, now: datetime
) -> Step:
    """Decide the next step of a stage that has not been recorded as Succeeded.

    One that is recorded as Failed stays so, whatever Jobs there are, until `retry`, which is spec.retry, is raised. One
    that is not, and whose Job is gone, starts the same attempt again: it may have been suspended, its Job deleted by a
    person, or not be known yet, in which case asking for it twice is asking for it once.
    """
    stage = planned.outline
    held = recorded or StageStatus(name=stage.name, state=StageState.PENDING)
    current = held
    if held.state is StageState.FAILED:
        if retry <= held.retry:
            return _failed(held)  # said once: the Pods that told why may be gone by now
        current = retried(stage, held)
    buckets = children.buckets(stage.name, current.attempt)
    match buckets.from_newest_on(current.attempt) if stage.fenced else buckets:
        case Buckets(ending=[*_, attempt]):
            before = _continued(stage, current, attempt, buckets, now)
            return _while_ending(planned, attempt, before, buckets, children, retry, now)
        case Buckets(active=[*_, attempt]):
            before = _continued(stage, current, attempt, buckets, now)
            return _while_active(planned, attempt, before, children, now)
        case Buckets(complete=[*_, attempt]):
            before = _continued(stage, current, attempt, buckets, now)
            return _take_result(children, stage, attempt, before, retry, now)
        case Buckets(failed=[*_, attempt]):
            before = _continued(stage, current, attempt, buckets, now)
            return _after_failure(planned, attempt, before, buckets, children, retry, now)
    earlier = buckets if held is current else None  # who has asked for another attempt need not wait for it
    return _start(planned, current, held, children, earlier, now)


def _continued(stage: Outline, current: StageStatus, attempt: Attempt, buckets: Buckets, now: datetime) -> StageStatus:
    """Give the status of the attempt that a Job is of; the operator may have been away since that before it."""
    disrupted = {one.job.attempt for one in buckets.all if disruption(stage, one.job, one.pods) is not None}
    status = current.model_copy(update={"disrupted": tuple(sorted({*current.disrupted, *disrupted}))})
    if status.job is not None and status.attempt < attempt.job.attempt:
        status = next_attempt(stage, _with_end_of_recorded(stage, status, buckets, now))
    return status.model_copy(
        update={
            "attempt": attempt.job.attempt,
            "job": attempt.job.name,
            "output": attempt.job.output or status.output,
            "started_at": status.started_at or attempt.job.created_at or now,
        }
    )


def _with_end_of_recorded(stage: Outline, status: StageStatus, buckets: Buckets, now: datetime) -> StageStatus:
    """Say how the recorded attempt ended, which another has followed before that was written."""
    ended = next((one for one in buckets.all if one.job.attempt == status.attempt), None)
    if not stage.fenced or ended is None:
        return status
    cause = cause_of(stage, ended) if ended.job.failed else cause_of_giving_up(ended)
    return status if cause is None else attempt_records.failed(status, ended, cause, now)


def _while_ending(
    planned: Stage | Blocked,
    attempt: Attempt,
    before: StageStatus,
    buckets: Buckets,
    children: Children,
    retry: int,
    now: datetime,
) -> Step:
    """Wait for the Pods of a Job that is being deleted; not for such as cannot be, if the next is fenced."""
    stage = planned.outline
    cause = cause_of_giving_up(attempt) if stage.fenced and cannot_be_ended(attempt.pods, now) else None
    if cause is None:
        step = wait_for_end(stage, before, attempt, now)
        return placement.while_ending(step, now)
    return _go_on(planned, attempt, before, buckets, children, retry, now, cause)


def _while_active(
    planned: Stage | Blocked, attempt: Attempt, before: StageStatus, children: Children, now: datetime
) -> Step:
    """Follow a Job that runs, or end it where its Pods work together and one of them cannot be ended."""
    stuck = stuck_terminating(attempt.pods, now) if planned.outline.fenced else None
    if stuck is None:
        before = placement.settled(planned.outline, before, attempt.pods, now)
        if (moved := elsewhere(attempt.job, planned)) is not None:
            return Step(_standing_still(before), moved.reason, moved.message, delete=(attempt.job,))
        given_back = placement.give_back(planned, attempt, before, children, now)
        return given_back or follow(planned, attempt, before, children.progress, now)
    message = f"{stuck.message} Attempt {attempt.job.attempt} is given up."
    status = _standing_still(before).model_copy(update={"message": message})
    return Step(status, stuck.reason, message, delete=(attempt.job,))


def _after_failure(
    planned: Stage | Blocked,
    attempt: Attempt,
    before: StageStatus,
    buckets: Buckets,
    children: Children,
    retry: int,
    now: datetime,
) -> Step:
    """Go on with the next attempt from what a failed one has left, or say why there is none."""
    stage, job, pods = planned.outline, attempt.job, attempt.pods
    told = all(pod.finished for pod in pods) and any(pod.phase == "Failed" for pod in pods)
    unheard = _unheard(stage, before, attempt, f"Job {job.name} has failed; reading why.", children, now)
    if not told and unheard is not None:
        return unheard
    cause = cause_of(stage, attempt)
    if cause.final and cause.reason in FAULTS_OF_A_NODE and not attempt_records.has_met(before, cause.reason):
        cause = replace(cause, final=False)  # another node may be better; if not, it is no node's fault
    return _go_on(planned, attempt, before, buckets, children, retry, now, cause)


def _go_on(
    planned: Stage | Blocked,
    attempt: Attempt,
    before: StageStatus,
    buckets: Buckets,
    children: Children,
    retry: int,
    now: datetime,
    cause: Failure,
) -> Step:
    """Start the attempt after one that has ended by `cause`, if there may be one."""
    stage = planned.outline
    ended = attempt_records.failed(before, attempt, cause, now) if stage.fenced else before
    if cause.final or not may_go_on(stage, before):
        return _failed(with_failure(children.key, attempt, ended, retry, cause))
    said = f"Attempt {attempt.job.attempt} failed ({cause.reason}: {cause.message})"
    held = _standing_still(ended).model_copy(update={"message": f"{said}."})
    following = next_attempt(stage, ended).model_copy(
        update={"reason": cause.reason, "failure_class": cause.failure_class}
    )
    return _start(planned, following, held, children, buckets, now, said)


def _start(
    planned: Stage | Blocked,
    following: StageStatus,
    held: StageStatus,
    children: Children,
    buckets: Buckets | None,
    now: datetime,
    said: str = "",
) -> Step:
    """Start the attempt that `following` is of, after a pause if one of `buckets` has just failed.

    `held` is the status while it cannot be started, and `said` why the one before it failed.
    """
    stage = planned.outline
    if isinstance(planned, Blocked):
        return _blocked(held, planned.by)
    if (paused := placement.pause(held, now)) is not None:
        return paused
    name = job_name(children.key.name, stage.name, following.attempt)
    if obstruction := in_the_way(children, stage, name, now):
        return _blocked(held, obstruction, until_overdue(children.pods, now))
    failed = [one.job for one in buckets.ended if one.job.failed] if buckets is not None else []
    pause = pause_left(failed, following, now)
    message = waiting_for_pods(name)
    if said:
        when = f" after a pause, at {now + pause:%H:%M:%S} UTC" if pause else ""
        message = f"{said}; attempt {following.attempt} goes on from it{when}."
    elif pause:
        message = following.message or message
    status = _standing_still(following).model_copy(
        update={
            "job": name,
            "output": planned.contract.output,
            "started_at": following.started_at or now,
            "message": message,
            "disrupted": tuple(attempt for attempt in following.disrupted if attempt < following.attempt),
        }
    )
    if pause:
        return Step(status, stage.reason, message, look_again_after=pause)
    avoid = attempt_records.to_be_avoided(following, now)
    return Step(status, stage.reason, message, start=following.attempt, avoid=avoid)


def _blocked(held: StageStatus, by: Waiting | Invalid, look_again_after: timedelta | None = None) -> Step:
    status = held if held.state is StageState.FAILED else _standing_still(held)
    return Step(status, by.reason, by.message, blocked=by, look_again_after=look_again_after)


def _standing_still(status: StageStatus) -> StageStatus:
    return status.model_copy(update={"state": StageState.PENDING, "rate": None, "eta_seconds": None})


def _take_result(
    children: Children, stage: Outline, attempt: Attempt, before: StageStatus, retry: int, now: datetime
) -> Step:
    job, pods = attempt.job, attempt.pods
    result = merge_results(pods, stage.pods, stage.teamwork)
    if result is not None:
        return Step(succeeded(stage, before, attempt, result))
    if unheard := _unheard(stage, before, attempt, f"Job {job.name} is complete; reading its result.", children, now):
        return unheard
    if cause := unreadable_result(pods):
        return _failed(with_failure(children.key, attempt, before, retry, cause))
    message = f"The result of Job {job.name} was lost with its Pods; running it again, which picks up what is complete."
    return Step(
        before.model_copy(update={"message": message}), stage.reason, message, delete=() if job.deleting else (job,)
    )


def _unheard(
    stage: Outline, before: StageStatus, attempt: Attempt, message: str, children: Children, now: datetime
) -> Step | None:
    """Wait for the last words of an ended Job's Pods, and have these read anew; None once no more will be heard.

    Of Pods that are gone, as those that somebody has deleted, there is nothing to wait for.
    """
    ended_at = attempt.job.finished_at
    due = ended_at is None or now - ended_at > HEARD_AFTER or not attempt.pods
    if due and children.confirmed and all(pod.finished for pod in attempt.pods):
        return None
    return Step(before, stage.reason, message, look_again_after=HEARD_AFTER, confirm=due and not children.confirmed)


def _failed(status: StageStatus) -> Step:
    attempts = f" after {status.attempt} attempts" if status.attempt > 1 else ""
    message = f"Stage {status.name} failed{attempts}: {status.message}"
    return Step(status, status.reason or "", message)

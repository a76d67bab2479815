"""What the status has of each attempt: where it ran, from where to where, why it ended, what it cost.

The operator knows where and why. Steps and minutes are the runtime's: it says with its first progress from which step
it goes on, and what all attempts before have cost, so that one attempt's share is by how much these sums have grown.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from distill_operator.api import AttemptStatus, StageStatus
from distill_operator.observation import PodView
from distill_operator.plan.buckets import Attempt
from distill_operator.plan.failures import FAULTS_OF_A_NODE, Failure

MOST_ATTEMPTS = 12
"""The latest are kept: a status is read by people, and all of them are in attempts.jsonl."""
MOST_NODES = 16
AVOIDED_FOR = timedelta(days=1)
RESUMED_FROM = "resumedFromStep"
LOST_STEPS = "lostSteps"
STEPS = "steps"
COSTS = {
    "computingDeviceMinutes": "computing_device_minutes",
    "waitingDeviceMinutes": "waiting_device_minutes",
    "lostDeviceMinutes": "lost_device_minutes",
}


def running(before: StageStatus, attempt: Attempt, metrics: Mapping[str, float], done: int | None) -> StageStatus:
    """Give the status with what is known of the attempt that runs, and with what its first words tell of the last one.

    `metrics` and `done` are what it has said just now; nothing, if it has not.
    """
    job = attempt.job
    status = _with_record(before, attempt)
    resumed = metrics.get(RESUMED_FROM)
    if resumed is None:
        return status
    *earlier, record = status.attempts
    if record.attempt != job.attempt:
        return status
    if record.resumed_from_step is None and earlier:
        earlier[-1] = _with_costs(earlier[-1], before.metrics, metrics, int(resumed))
    record = record.model_copy(update={"resumed_from_step": int(resumed), "to_step": max(done or 0, int(resumed))})
    return status.model_copy(update={"attempts": (*earlier, record)})


def failed(before: StageStatus, attempt: Attempt, cause: Failure, now: datetime) -> StageStatus:
    """Give the status with the end of an attempt that has failed, or was given up."""
    update = {
        "ended_at": attempt.job.finished_at or now,
        "reason": cause.reason,
        "failure_class": cause.failure_class,
        "faulty_node": cause.node if cause.reason in FAULTS_OF_A_NODE and cause.node else None,
    }
    return _with_end(before, attempt, update)


def succeeded(before: StageStatus, attempt: Attempt, reason: str, metrics: Mapping[str, float]) -> StageStatus:
    """Give the status with the end of the attempt that came to the end of the stage."""
    status = _with_end(before, attempt, {"ended_at": attempt.job.finished_at, "reason": reason})
    if not status.attempts:
        return status
    records = list(status.attempts)
    # One that has said nothing found the artifact complete: what it tells is what the attempt before it has cost.
    told_of = len(records) - 1 if records[-1].to_step is not None or len(records) == 1 else len(records) - 2
    record = _with_costs(records[told_of], before.metrics, metrics, None)
    if STEPS in metrics:  # the last steps are seldom heard of while they are done
        record = record.model_copy(update={"to_step": int(metrics[STEPS])})
    records[told_of] = record
    return status.model_copy(update={"attempts": tuple(records)})


def to_be_avoided(status: StageStatus, now: datetime) -> tuple[str, ...]:
    """Give the nodes that were at fault lately."""
    lately = (
        record for record in status.attempts if record.ended_at is not None and now - record.ended_at < AVOIDED_FOR
    )
    return tuple(sorted({record.faulty_node for record in lately if record.faulty_node is not None}))


def has_met(status: StageStatus, reason: str) -> bool:
    """Tell whether an attempt has ended for this reason before."""
    return any(record.reason == reason for record in status.attempts)


def _with_record(status: StageStatus, attempt: Attempt) -> StageStatus:
    """Give the status with a record of the attempt, if it is one whose Pods ran on nodes."""
    job, nodes = attempt.job, _nodes(attempt.pods)
    known = next((record for record in status.attempts if record.attempt == job.attempt), None)
    if known is None:
        record = AttemptStatus(attempt=job.attempt, nodes=nodes, began_at=job.created_at)
        kept = status.attempts[-(MOST_ATTEMPTS - 1) :]
        return status.model_copy(update={"attempts": (*kept, record)})
    seen = tuple(sorted({*known.nodes, *nodes})[:MOST_NODES])  # Pods that have ended may be gone
    record = known.model_copy(update={"nodes": seen})
    records = (record if one is known else one for one in status.attempts)
    return status.model_copy(update={"attempts": tuple(records)})


def _with_end(before: StageStatus, attempt: Attempt, update: Mapping[str, object]) -> StageStatus:
    status = _with_record(before, attempt)
    records = (
        record.model_copy(update=update)
        if record.attempt == attempt.job.attempt and record.ended_at is None
        else record
        for record in status.attempts
    )
    return status.model_copy(update={"attempts": tuple(records)})


def _with_costs(
    record: AttemptStatus, before: Mapping[str, float], after: Mapping[str, float], resumed: int | None
) -> AttemptStatus:
    """Give a record with what the sums of costs have grown by, and the steps that were not saved."""
    costs: dict[str, float | int] = {
        field: round(max(after[name] - before.get(name, 0.0), 0.0), 1) for name, field in COSTS.items() if name in after
    }
    if LOST_STEPS in after:
        costs["lost_steps"] = lost = int(max(after[LOST_STEPS] - before.get(LOST_STEPS, 0.0), 0.0))
        if resumed is not None:  # the log knows of steps that nobody has been told of
            costs["to_step"] = max(record.to_step or 0, resumed + lost)
    return record.model_copy(update=costs)


def _nodes(pods: Sequence[PodView]) -> tuple[str, ...]:
    return tuple(sorted({pod.node for pod in pods if pod.node})[:MOST_NODES])

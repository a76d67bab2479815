"""Kueue: Jobs wait suspended until their whole request fits the quota of a queue.

All Jobs of an object queue, those without devices as well: a quota that part of an object escapes is none. They are
created suspended, and `spec.suspend` is Kueue's from then on: whoever else writes it kills the Pods of an admitted Job,
or starts those of one that has no quota (measured with 0.18). Why a Job waits is said by its Workload alone; the Job's
own condition is the same whether it queues or was preempted. The operator reads Workloads and never writes one: a
`spec.active` that it set could not be told from one that a person has set.
"""

from typing import Final

from distill_operator.api.queues import Queue
from distill_operator.observation import KUEUE_QUEUE_LABEL, JobView, WorkloadView
from distill_operator.plan.queues.interface import Manifest
from distill_operator.plan.stages import Outline, Waiting

QUEUED = "Queued"
PREEMPTED = "Preempted"
NOT_ADMISSIBLE = "NotAdmissible"
DEACTIVATED = "WorkloadDeactivated"
UNAVAILABLE = "QueueUnavailable"

_PRIORITY_LABEL: Final = "kueue.x-k8s.io/priority-class"
_WAITS: Final = {
    # Reasons of QuotaReserved=False. Kueue 0.19 gives them where its gate UnadmittedWorkloadsObservability is on, else
    # Pending or Inadmissible.
    "WaitingForQuota": "others use the quota that it needs",
    "WaitingForPreemptedWorkloads": "others were told to make room and are ending",
    "WaitingForPodsReady": "Kueue lets nothing start before the Pods of those admitted are ready",
    "PendingEvaluation": "Kueue has not come to it yet",
    "AdmissionGated": "an admission check holds it",
    "OnHold": "it is on hold",
    "Suspended": "the queue is stopped",
    "TopologyPlacementFailed": "there is quota, but no nodes close enough to each other",
}
_NEVER: Final = {
    "ExceedsMaxQuota": "it asks for more than the queue can ever give",
    "NoMatchingFlavor": "no flavor of the queue has nodes that it may run on",
    "Misconfigured": "the queue is not there, or not usable",
    "Inadmissible": "the queue is not there, or not usable",
}
"""Reasons for which nothing changes before a person changes something."""
_EVICTED: Final = {
    "PodsReadyTimeout": "its Pods did not become ready in time",
    "AdmissionCheck": "an admission check has withdrawn it",
    "ClusterQueueStopped": "the queue was stopped",
    "LocalQueueStopped": "the queue was stopped",
    "NodeFailures": "a node failed",
}


def add(job: Manifest, _: Outline, queue: Queue) -> list[Manifest]:
    """Put the Job into a queue, suspended."""
    labels = {KUEUE_QUEUE_LABEL: str(queue.kueue)}
    if queue.workload_priority_class is not None:
        labels[_PRIORITY_LABEL] = queue.workload_priority_class
    job["metadata"] = {**job["metadata"], "labels": {**job["metadata"]["labels"], **labels}}
    job["spec"]["suspend"] = True  # where Kueue is away, nothing may start past its quota
    return []


def explain(job: JobView, workload: WorkloadView | None) -> Waiting:
    """Say in plain words why Kueue holds a Job back; Kueue's own words follow."""
    waits = f"Job {job.name} waits in Kueue's queue {job.local_queue!r}"
    if workload is None:
        return Waiting(QUEUED, f"{waits}; Kueue has not said anything of it yet.")
    if workload.unreadable:
        return Waiting(UNAVAILABLE if workload.not_served else QUEUED, f"{waits}. {workload.unreadable}")
    place = f", number {workload.position + 1} in it" if workload.position is not None else ""
    return _explain(job, workload, f"{waits}{place}")


def _explain(job: JobView, workload: WorkloadView, waits: str) -> Waiting:
    if not workload.active:
        return Waiting(
            DEACTIVATED,
            f"{waits}, and Workload {workload.name} is switched off (spec.active: false): no quota is given to it. It "
            "goes on, from where it was, once somebody sets spec.active to true.",
        )
    words = f" (Kueue: {workload.pending_message.rstrip('.')})" if workload.pending_message else ""
    if workload.pending_reason in _NEVER:
        return Waiting(NOT_ADMISSIBLE, f"{waits} in vain: {_NEVER[workload.pending_reason]}{words}.")
    why = _WAITS.get(workload.pending_reason, "")
    now = f": {why}{words}." if why else f"{words}."
    if workload.evicted_reason == "Preempted":
        return Waiting(
            PREEMPTED,
            f"Job {job.name} was preempted and goes on from where it was when there is quota again"
            f"{now} {workload.evicted_message}".rstrip(),
        )
    if workload.evicted_reason in _EVICTED:
        return Waiting(QUEUED, f"{waits} again, since {_EVICTED[workload.evicted_reason]}{now}")
    return Waiting(QUEUED, f"{waits}{now}")

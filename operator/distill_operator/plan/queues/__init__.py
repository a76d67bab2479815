"""What an object's Jobs wait in: a module for each system, and the registry that lists them.

A system adds to a Job that is being built, and says of one that waits why it does. Imports values only; `manifests` and
`obstacles` import it.
"""

from distill_operator.observation import QUEUE_ANNOTATION, JobView, WorkloadView
from distill_operator.plan.queues import kueue, native, volcano
from distill_operator.plan.queues.interface import AddQueue, Manifest, annotated
from distill_operator.plan.stages import Blocked, Stage, Waiting
from distill_operator.settings import Settings

QUEUE_SYSTEMS: dict[str, AddQueue] = {
    "kueue": kueue.add,
    "volcano": volcano.add,
    "native": native.add,
}
"""By the name of the field in `spec.queue`."""


def add_queue(job: Manifest, stage: Stage, settings: Settings) -> list[Manifest]:
    """Add to a Job that is being built what its queue takes. Gives what has to be there before the Job."""
    queue = stage.run.queue or settings.queues.default
    if queue is None:
        return []
    before = QUEUE_SYSTEMS[queue.system](job, stage.outline, queue)
    job["metadata"] = annotated(job["metadata"], {QUEUE_ANNOTATION: str(queue)})
    return before


def unavailable(stage: Stage, settings: Settings) -> Waiting | None:
    """Say why nothing can be started with the queue of a stage, if the operator itself is not set up for it."""
    queue = stage.run.queue or settings.queues.default
    if queue is None or queue.native is None or settings.queues.native:
        return None
    return Waiting(
        kueue.UNAVAILABLE,
        "spec.queue.native takes a PodGroup, which the operator has no right to create: set queues.native to true in "
        "the chart's values, or use another queue.",
    )


def elsewhere(job: JobView, planned: Stage | Blocked) -> Waiting | None:
    """Say that a Job waits in another queue than the object asks for by now, if it does: it is queued there instead.

    What was asked for it tells, and not where it is: a policy, or Kueue's default, may have put it elsewhere, and will
    again.
    """
    queue = planned.run.queue if isinstance(planned, Stage) else None
    if queue is None or not job.suspended or not job.local_queue or str(queue) == job.asked_queue:
        return None
    return Waiting(
        kueue.QUEUED, f"Job {job.name} leaves Kueue's queue {job.local_queue!r} for the one that spec.queue names now."
    )


def held_back(job: JobView, workload: WorkloadView | None) -> Waiting | None:
    """Say why a Job is suspended, if it is: by Kueue, if it is in a queue of that, else nobody knows by whom."""
    if not job.suspended:
        return None
    if job.local_queue:
        return kueue.explain(job, workload)
    return Waiting("JobSuspended", f"Job {job.name} is suspended; it starts when whoever holds it back lets it go.")


__all__ = ["QUEUE_SYSTEMS", "add_queue", "elsewhere", "held_back", "unavailable"]

"""What is in the way of a new Job: children of an earlier object, of a deleted Job, or of nobody.

They matter only where something is to be started. What runs, goes on; what is Ready, stays so.
"""

from datetime import datetime

from distill_operator.observation import JobView, PodView
from distill_operator.plan.buckets import Children
from distill_operator.plan.obstacles import cannot_be_ended, stuck_terminating
from distill_operator.plan.stages import Outline, Waiting


def in_the_way(children: Children, stage: Outline, name: str, now: datetime) -> Waiting | None:
    """Say what has to go before the Job `name` may be created.

    A Pod that runs writes to the same directory. So will those of a Job that has not ended, and one that has may bear
    the very name. An attempt that is fenced passes by the Pods of those before it that cannot be ended.
    """
    pods = [pod for pod in children.pods if not pod.finished]
    if stage.fenced:
        pods = [pod for pod in pods if not (_is_own(children, pod) and cannot_be_ended([pod], now))]
    if stuck := stuck_terminating(pods, now):
        return Waiting(stuck.reason, stuck.message)
    if pods:
        return _pod_in_the_way(children, stage, pods[0])
    jobs = [job for job in children.strange_jobs if job.name == name or not job.finished]
    return _job_in_the_way(children, jobs[0]) if jobs else None


def _is_own(children: Children, pod: PodView) -> bool:
    return pod.owner_uid == children.uid and bool(pod.job_uid)


def _pod_in_the_way(children: Children, stage: Outline, pod: PodView) -> Waiting:
    if pod.owner_uid != children.uid:
        return _of_an_earlier_object(f"pod {pod.name}")
    if not pod.job_uid:
        return _stray(f"pod {pod.name}")
    return Waiting(stage.reason, f"Waiting for Pod {pod.name} of an earlier Job to end.")


def _job_in_the_way(children: Children, job: JobView) -> Waiting:
    if job.owner_uid not in ("", children.uid):
        return _of_an_earlier_object(f"job {job.name}")
    return _stray(f"job {job.name}")


def _of_an_earlier_object(child: str) -> Waiting:
    return Waiting(
        "EarlierObjectEnding",
        f"An object of the same name was deleted, and its {child} is still there; waiting for it to go. "
        f"If it was orphaned, `kubectl delete {child}`.",
    )


def _stray(child: str) -> Waiting:
    return Waiting(
        "StrayInTheWay",
        f"The {child} has this object's labels and is none of its own (it was orphaned, or copied): what it runs may "
        f"write the same files. Nothing is started while it is there: `kubectl delete {child}`.",
    )

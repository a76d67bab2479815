"""What keeps the Pods of an active Job from running, in words that say what to do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from distill_operator.observation import JobView, PodView
from distill_operator.plan.buckets import Attempt
from distill_operator.plan.failures import ended_at, pod_failure
from distill_operator.plan.queues import held_back, kueue
from distill_operator.plan.stages import Blocked, Outline, Stage

CONFIGURATION_MISSING = "CreateContainerConfigError"
"""What the kubelet says of a Secret, or a key of it, that is not there; it looks again every few seconds."""
NOT_STARTING = {
    CONFIGURATION_MISSING,
    "CreateContainerError",
    "ErrImageNeverPull",
    "ImageInspectError",
    "InvalidImageName",
    "RunContainerError",
}
NO_IMAGE = {"ErrImagePull", "ImagePullBackOff"}
"""The kubelet alternates between the two, every few seconds and with other words: to a person they are one state."""
SERVER_NOT_STARTING = "CrashLoopBackOff"
"""What the kubelet says between two starts of a server that ended; once the stage's container runs, that says more."""
SERVER_FAILED = "ServerFailed"
APPLY_FAILED = "ApplyFailed"
RETRYING = "Retrying"
STUCK_TERMINATING = "PodStuckTerminating"
NOT_SET_UP = "PodNotSetUp"
NOT_TAKEN_UP = "JobNotTakenUp"
NOT_SCHEDULED = "NotScheduled"
HINDRANCES = (
    NOT_STARTING
    | NO_IMAGE
    | {kueue.NOT_ADMISSIBLE, kueue.UNAVAILABLE, kueue.DEACTIVATED}
    | {
        "Unschedulable",
        "NoPods",
        NOT_TAKEN_UP,
        NOT_SCHEDULED,
        NOT_SET_UP,
        RETRYING,
        SERVER_FAILED,
        STUCK_TERMINATING,
        APPLY_FAILED,
    }
)
"""Reasons of an object that should make progress and does not."""

TAKEN_UP_WITHIN = timedelta(minutes=5)
"""The Job controller takes up some twenty Jobs a second: what many objects at once have to wait is nobody's fault."""
SCHEDULED_WITHIN = timedelta(seconds=60)
"""A scheduler that works says within seconds that a Pod fits nowhere."""
NO_PODS_AFTER = timedelta(seconds=10)
SET_UP_WITHIN = timedelta(minutes=5)
"""For most images to be pulled, and for volumes to be mounted."""
STUCK_AFTER = timedelta(seconds=60)
"""A kubelet kills what its grace period has not ended and says so within moments; one that is silent is gone."""
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Obstacle:
    """Why a stage that should run does not."""

    reason: str
    message: str


def obstacle(planned: Stage | Blocked, attempt: Attempt, now: datetime) -> Obstacle | None:
    """Say what keeps the Pods of an active Job from running, if something does."""
    job, pods = attempt.job, attempt.pods
    return (
        stuck_terminating(pods, now)
        or _held_back(attempt)
        or _not_starting(planned, pods)
        or _not_scheduled(pods, now)
        or _not_set_up(pods, now)
        or _not_replaced(planned.outline, job, pods)
        or _not_created(planned.outline, job, pods, now)
    )


def _held_back(attempt: Attempt) -> Obstacle | None:
    """Say what holds the Job back: in general no hindrance, since that is what a queue is for."""
    waiting = held_back(attempt.job, attempt.workload)
    return Obstacle(waiting.reason, waiting.message) if waiting is not None else None


def _not_starting(planned: Stage | Blocked, pods: Sequence[PodView]) -> Obstacle | None:
    for pod in pods:
        if pod.finished:
            continue
        if pod.unschedulable:
            return Obstacle("Unschedulable", f"Pod {pod.name} fits on no node: {pod.unschedulable}{_asked(planned)}")
        if pod.waiting_reason in NO_IMAGE:
            return Obstacle(
                "ImagePullBackOff",
                f"Pod {pod.name} cannot pull its image; `kubectl describe pod {pod.name}` has the registry's words.",
            )
        if pod.waiting_reason == SERVER_NOT_STARTING:
            said = pod.server_message.strip() or pod.server_ended or pod.waiting_message
            return Obstacle(SERVER_FAILED, f"The server of Pod {pod.name} cannot be started: {said}")
        if pod.waiting_reason in NOT_STARTING:
            remedy = ". Create it, and the Pod starts." if pod.waiting_reason == CONFIGURATION_MISSING else ""
            return Obstacle(pod.waiting_reason, f"Pod {pod.name} cannot start: {pod.waiting_message}{remedy}")
    return None


def _not_scheduled(pods: Sequence[PodView], now: datetime) -> Obstacle | None:
    """Say which Pod no scheduler has said anything of: that which it names does not run, or keeps silent."""
    silent = _overdue(pods, _scheduled_by, now)
    if silent is None:
        return None
    return Obstacle(
        NOT_SCHEDULED,
        f"Pod {silent.name} was created more than {SCHEDULED_WITHIN.seconds} seconds ago, and its scheduler "
        f"{silent.scheduler!r} has said nothing of it: see whether that runs; `kubectl describe pod {silent.name}`.",
    )


def _not_set_up(pods: Sequence[PodView], now: datetime) -> Obstacle | None:
    """Say which Pod has been given a node and no containers, if that takes long; only its Events say why."""
    late = _overdue(pods, _set_up_by, now)
    if late is None:
        return None
    return Obstacle(
        NOT_SET_UP,
        f"Pod {late.name} was given node {late.node} more than {SET_UP_WITHIN.seconds // 60} minutes ago and does not "
        "run yet: a large image that is still being pulled, or a volume that cannot be mounted. "
        f"`kubectl describe pod {late.name}` says which.",
    )


def _not_replaced(stage: Outline, job: JobView, pods: Sequence[PodView]) -> Obstacle | None:
    """Say why a Pod has failed in whose place there is no other yet."""
    ended = _not_replaced_yet(job, pods)
    if not ended or not stage.backoff_limit:
        return None
    last = ended[-1]
    cause = pod_failure(last)
    if cause.final:
        return None  # it fails the Job in a moment
    times = sum(pod.index == last.index for pod in ended)
    return Obstacle(
        RETRYING,
        f"{cause.message.rstrip('.')}. Pod {last.name} ended with it; Job {job.name} starts another "
        f"after a pause (failed so far: {times}, given up after {stage.backoff_limit + 1}).",
    )


def _not_created(stage: Outline, job: JobView, pods: Sequence[PodView], now: datetime) -> Obstacle | None:
    """Say why a Job has no Pods where it should have some."""
    due = _pods_due_at(job)
    if pods or due is None or now < due or (job.ended_pods and not stage.backoff_limit):
        return None
    if job.started_at is None:
        return Obstacle(
            NOT_TAKEN_UP,
            f"Job {job.name} was created more than {TAKEN_UP_WITHIN.seconds // 60} minutes ago and the Job controller "
            "has not looked at it yet: it has many Jobs to look at, or kube-controller-manager does not run.",
        )
    return Obstacle(
        "NoPods", f"Job {job.name} has no Pods yet; `kubectl describe job {job.name}` says why (quota, policy)."
    )


def stuck_terminating(pods: Sequence[PodView], now: datetime) -> Obstacle | None:
    """Say which Pod should have ended and has not, if one has: no Job goes on before it has."""
    stuck = _overdue(pods, _stuck_at, now)
    if stuck is None:
        return None
    # Not `kubectl delete pod --force`: the Pod keeps its Job's finalizer until its phase is Failed (Job controller,
    # canRemoveFinalizer), and where the kubelet is gone only the Pod garbage collector sets that, for these two.
    return Obstacle(
        STUCK_TERMINATING,
        f"Pod {stuck.name} was told to end and has not: its node {stuck.node} is down, or hangs. It ends when the node "
        f"is back. Once the node is surely off, `kubectl taint node {stuck.node} "
        f"node.kubernetes.io/out-of-service=nodeshutdown:NoExecute` ends it, or `kubectl delete node {stuck.node}` if "
        "the node will not come back.",
    )


def cannot_be_ended(pods: Sequence[PodView], now: datetime) -> bool:
    """Tell whether some of the Pods have not ended, and none of these will by itself."""
    unfinished = [pod for pod in pods if not pod.finished]
    return bool(unfinished) and all(stuck_terminating([pod], now) is not None for pod in unfinished)


def _overdue(pods: Sequence[PodView], due_at: Callable[[PodView], datetime | None], now: datetime) -> PodView | None:
    return next((pod for pod in pods if (due := due_at(pod)) is not None and now >= due), None)


def until_overdue(pods: Sequence[PodView], now: datetime) -> timedelta | None:
    """Give the time after which a Pod that should run or end by then will be said not to, if there is one."""
    dues = (due for pod in pods for due in (_stuck_at(pod), _set_up_by(pod), _scheduled_by(pod)))
    return min((due - now for due in dues if due is not None and due > now), default=None)


def until_pods_are_due(job: JobView, now: datetime) -> timedelta | None:
    """Give the time after which a Job without Pods will be said to have none, if it will be."""
    due = _pods_due_at(job)
    return due - now if due is not None and due > now else None


def _pods_due_at(job: JobView) -> datetime | None:
    """The Job controller says when it has taken a Job up, in the same write as which Pods it has created."""
    if job.suspended:
        return None
    if job.started_at is not None:
        return job.started_at + NO_PODS_AFTER
    return job.created_at + TAKEN_UP_WITHIN if job.created_at is not None else None


def _scheduled_by(pod: PodView) -> datetime | None:
    if pod.phase != "Pending" or pod.deleting or pod.node or pod.unschedulable or pod.created_at is None:
        return None
    return pod.created_at + SCHEDULED_WITHIN


def _set_up_by(pod: PodView) -> datetime | None:
    if pod.phase != "Pending" or pod.deleting or pod.scheduled_at is None:
        return None
    return pod.scheduled_at + SET_UP_WITHIN


def _stuck_at(pod: PodView) -> datetime | None:
    if pod.finished or pod.deletion_timestamp is None or not pod.node:
        return None
    if pod.lost:  # nobody is there to end it, however long its grace period is
        return LONG_AGO
    return pod.deletion_timestamp + STUCK_AFTER


def _not_replaced_yet(job: JobView, pods: Sequence[PodView]) -> list[PodView]:
    """Give the failed Pods in whose place there is no other and will be one, the last one last."""
    settled = {pod.index for pod in pods if pod.phase != "Failed"} | job.failed_indexes
    failed = (pod for pod in pods if pod.phase == "Failed" and pod.index not in settled)
    return sorted(failed, key=ended_at)


def _asked(planned: Stage | Blocked) -> str:
    if isinstance(planned, Blocked) or planned.profile is None or not planned.profile.resource or not planned.devices:
        return ""
    return f" It asks for {planned.devices} {planned.profile.resource} on one node."

"""What Kubernetes says of Pods that do not start or have failed, in words that say what to do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from distill_operator.observation import JobView, PodView
from distill_operator.plan.reports import parse_result
from distill_operator.plan.stages import Outline, Stage

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
APPLY_FAILED = "ApplyFailed"
RETRYING = "Retrying"
STUCK_TERMINATING = "PodStuckTerminating"
NOT_SET_UP = "PodNotSetUp"
HINDRANCES = (
    NOT_STARTING | NO_IMAGE | {"Unschedulable", "NoPods", NOT_SET_UP, RETRYING, STUCK_TERMINATING, APPLY_FAILED}
)
"""Reasons of an object that should make progress and does not."""

NO_PODS_AFTER = timedelta(seconds=10)
SET_UP_WITHIN = timedelta(minutes=5)
"""For most images to be pulled, and for volumes to be mounted."""
STUCK_AFTER = timedelta(seconds=60)
"""A kubelet kills what its grace period has not ended and says so within moments; one that is silent is gone."""
SIGKILL_EXIT, SIGTERM_EXIT = 137, 143


@dataclass(frozen=True)
class Obstacle:
    """Why a stage that should run does not."""

    reason: str
    message: str


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed. `final` means that another attempt would fail in the same way."""

    reason: str
    message: str
    final: bool = False


def obstacle(stage: Outline, job: JobView, pods: Sequence[PodView], now: datetime) -> Obstacle | None:
    """Say what keeps the Pods of an active Job from running, if something does."""
    return (
        stuck_terminating(pods, now)
        or _not_starting(stage, pods)
        or _not_set_up(pods, now)
        or _not_replaced(stage, job, pods, now)
    )


def _not_starting(stage: Outline, pods: Sequence[PodView]) -> Obstacle | None:
    for pod in pods:
        if pod.finished:
            continue
        if pod.unschedulable:
            return Obstacle("Unschedulable", f"Pod {pod.name} fits on no node: {pod.unschedulable}{_asked(stage)}")
        if pod.waiting_reason in NO_IMAGE:
            return Obstacle(
                "ImagePullBackOff",
                f"Pod {pod.name} cannot pull its image; `kubectl describe pod {pod.name}` has the registry's words.",
            )
        if pod.waiting_reason in NOT_STARTING:
            remedy = ". Create it, and the Pod starts." if pod.waiting_reason == CONFIGURATION_MISSING else ""
            return Obstacle(pod.waiting_reason, f"Pod {pod.name} cannot start: {pod.waiting_message}{remedy}")
    return None


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


def _not_replaced(stage: Outline, job: JobView, pods: Sequence[PodView], now: datetime) -> Obstacle | None:
    """Say why a Job has no Pod where it should have one."""
    if (ended := _not_replaced_yet(job, pods)) and stage.backoff_limit:
        last = ended[-1]
        cause = _pod_failure(last)
        if not cause.final:  # what is final fails the Job in a moment
            times = sum(pod.index == last.index for pod in ended)
            return Obstacle(
                RETRYING,
                f"{cause.message.rstrip('.')}. Pod {last.name} ended with it; Job {job.name} starts another "
                f"after a pause (failed so far: {times}, given up after {stage.backoff_limit + 1}).",
            )
    replaces_none = not stage.backoff_limit and job.ended_pods
    if not pods and not replaces_none and job.created_at is not None and now - job.created_at > NO_PODS_AFTER:
        return Obstacle(
            "NoPods", f"Job {job.name} has no Pods yet; `kubectl describe job {job.name}` says why (quota, policy)."
        )
    return None


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


def _overdue(pods: Sequence[PodView], due_at: Callable[[PodView], datetime | None], now: datetime) -> PodView | None:
    return next((pod for pod in pods if (due := due_at(pod)) is not None and now >= due), None)


def until_overdue(pods: Sequence[PodView], now: datetime) -> timedelta | None:
    """Give the time after which a Pod that should run or end by then will be said not to, if there is one."""
    dues = (due for pod in pods for due in (_stuck_at(pod), _set_up_by(pod)))
    return min((due - now for due in dues if due is not None and due > now), default=None)


def _set_up_by(pod: PodView) -> datetime | None:
    if pod.phase != "Pending" or pod.deleting or pod.scheduled_at is None:
        return None
    return pod.scheduled_at + SET_UP_WITHIN


def _stuck_at(pod: PodView) -> datetime | None:
    if pod.finished or pod.deletion_timestamp is None or not pod.node:
        return None
    return pod.deletion_timestamp + STUCK_AFTER


def _not_replaced_yet(job: JobView, pods: Sequence[PodView]) -> list[PodView]:
    """Give the failed Pods in whose place there is no other and will be one, the last one last."""
    settled = {pod.index for pod in pods if pod.phase != "Failed"} | job.failed_indexes
    failed = (pod for pod in pods if pod.phase == "Failed" and pod.index not in settled)
    return sorted(failed, key=_ended_at)


def _asked(stage: Outline) -> str:
    if not isinstance(stage, Stage) or stage.profile is None or not stage.profile.resource or not stage.devices:
        return ""
    return f" It asks for {stage.devices} {stage.profile.resource} on one node."


def failure(job: JobView, pods: Sequence[PodView]) -> Failure:
    """Say why a Job failed: in the stage's own words if it left any, else from how its Pods ended."""
    ended = sorted(
        (pod for pod in pods if pod.finished and pod.exit_code != 0), key=lambda pod: _telling(pod, job.failed_indexes)
    )
    if not ended:
        return Failure("JobFailed", job.failure_message or f"Job {job.name} failed and its Pods are gone.")
    return _pod_failure(ended[0])


def disruption(stage: Outline, job: JobView, pods: Sequence[PodView]) -> Failure | None:
    """Say what took a Pod off its node and thereby ended the attempt: nobody's mistake."""
    if stage.backoff_limit:
        return None  # the Job puts another Pod in its place
    if any(pod.evicted for pod in pods):
        return None
    disrupted = next((pod for pod in pods if pod.disrupted), None)
    if disrupted is not None:
        return Failure("Disrupted", f"Pod {disrupted.name} was taken off its node: {disrupted.disruption}")
    return Failure("Disrupted", job.failure_message) if job.disrupted else None


def unreadable_result(pods: Sequence[PodView]) -> Failure | None:
    """Say which Pod of a complete Job left a result that is none; running it again would leave the same."""
    for pod in pods:
        if pod.phase == "Succeeded" and parse_result(pod) is None:
            return Failure(
                "UnreadableResult",
                f"Pod {pod.name} ended well, but its result cannot be read ({pod.termination_message[:200]!r}): "
                "are operator and runtime image of the same version?",
            )
    return None


def _telling(pod: PodView, given_up: frozenset[int]) -> tuple[bool, int, float]:
    """Order Pods by how much their end explains: the wrong input first, those that were merely ended with it last.

    Where the Job gave indexes up, only their Pods can have been the cause: what the others met with, they got over.
    """
    result = parse_result(pod)
    outcome = result.outcome if result is not None else ""
    rank = {"WrongInput": 0, "Failed": 1, "Terminated": 3}.get(outcome, 3 if pod.exit_code == SIGTERM_EXIT else 2)
    got_over = rank > 0 and bool(given_up) and pod.index not in given_up
    return got_over, rank, _ended_at(pod)


def _ended_at(pod: PodView) -> float:
    return pod.finished_at.timestamp() if pod.finished_at is not None else 0.0


def _pod_failure(pod: PodView) -> Failure:
    result = parse_result(pod)
    if result is not None and result.outcome != "Terminated":
        return Failure(result.reason, result.message, final=result.outcome == "WrongInput")
    if pod.exit_reason == "OOMKilled":
        return Failure("OutOfMemory", f"Pod {pod.name} was killed at its memory limit: raise it in the chart's values.")
    if pod.pod_reason:
        return Failure(pod.pod_reason, f"Pod {pod.name}: {pod.pod_message or pod.pod_reason}")
    if pod.exit_code in (SIGTERM_EXIT, SIGKILL_EXIT) or pod.exit_code is None:
        return Failure("PodKilled", f"Pod {pod.name} was killed (exit code {pod.exit_code}).")
    words = pod.termination_message.strip().splitlines()
    last = f": {words[-1]}" if words else ""
    return Failure("StageFailed", f"Pod {pod.name} ended with exit code {pod.exit_code}{last}")

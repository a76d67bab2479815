"""Why an attempt has failed, by what its Pods left and what Kubernetes says of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from distill_operator.observation import JobView, PodView
from distill_operator.plan.reports import parse_result
from distill_operator.plan.stages import Outline
from distill_runtime.contract import FailureClass

SIGKILL_EXIT, SIGTERM_EXIT = 137, 143
OOM_KILLED = "OOMKilled"
"""The kubelet's word for a container that reached its memory limit."""
NODE_HANGS = "NodeHangs"
FAULTS_OF_A_NODE = frozenset({"DeviceFault", "DeviceNotReady", NODE_HANGS})
"""Reasons that another node may not have."""


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed, and whose fault it is. `final` means that another attempt would fail in the same way.

    `node` is where the Pod ran that told it, or that tells most.
    """

    reason: str
    message: str
    final: bool = False
    failure_class: FailureClass = "unknown"
    node: str = ""


def failure(job: JobView, pods: Sequence[PodView]) -> Failure:
    """Say why a Job failed: in the stage's own words if it left any, else from how its Pods ended."""
    ended = sorted(
        (pod for pod in pods if pod.finished and pod.exit_code != 0), key=lambda pod: _telling(pod, job.failed_indexes)
    )
    if not ended:
        return Failure("JobFailed", job.failure_message or f"Job {job.name} failed and its Pods are gone.")
    return replace(pod_failure(ended[0]), node=ended[0].node)


def disruption(stage: Outline, job: JobView, pods: Sequence[PodView]) -> Failure | None:
    """Say what took a Pod off its node and thereby ended the attempt: nobody's mistake."""
    if stage.backoff_limit:
        return None  # the Job puts another Pod in its place
    if any(pod.evicted for pod in pods):
        return None
    disrupted = next((pod for pod in pods if pod.disrupted), None)
    lost = next((pod for pod in pods if pod.lost), None)
    if lost is not None:  # whoever has told it to end
        return given_up(lost)
    if disrupted is not None:
        message = f"Pod {disrupted.name} was taken off its node: {disrupted.disruption}"
    elif job.disrupted:
        message = job.failure_message
    else:
        return None
    return Failure("Disrupted", message, failure_class="infrastructure")


def given_up(held: PodView) -> Failure:
    """Say why an attempt is given up of which one Pod cannot be ended."""
    reason, what = ("NodeLost", "is not heard of") if held.node_silent else (NODE_HANGS, "does not end it")
    message = f"Pod {held.name} was told to end and has not: its node {held.node} {what}."
    return Failure(reason, message, failure_class="infrastructure", node=held.node)


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
    return got_over, rank, ended_at(pod)


def ended_at(pod: PodView) -> float:
    """Give when a Pod ended, in seconds, to sort by."""
    return pod.finished_at.timestamp() if pod.finished_at is not None else 0.0


def pod_failure(pod: PodView) -> Failure:
    """Say why one Pod failed."""
    result = parse_result(pod)
    if result is not None and result.outcome != "Terminated":
        if result.reason == "ServerFailed" and pod.server_ended == OOM_KILLED:
            message = (
                f"The server of Pod {pod.name} was killed at its memory limit: raise its resources in "
                "spec.podTemplate, or those of the server or the accelerator profile in the chart's values."
            )
            return Failure("OutOfMemory", message, failure_class="workload")
        final = result.outcome == "WrongInput"
        failure_class = result.failure_class or ("workload" if final else "unknown")
        return Failure(result.reason, result.message, final, failure_class)
    if pod.exit_reason == OOM_KILLED:
        message = (
            f"Pod {pod.name} was killed at its memory limit: raise its resources in spec.podTemplate, or in "
            "the chart's values."
        )
        return Failure("OutOfMemory", message, failure_class="workload")
    if pod.pod_reason:
        message = f"Pod {pod.name}: {pod.pod_message or pod.pod_reason}"
        return Failure(pod.pod_reason, message, failure_class="infrastructure")
    if pod.exit_code in (SIGTERM_EXIT, SIGKILL_EXIT) or pod.exit_code is None:
        message = f"Pod {pod.name} was killed (exit code {pod.exit_code})."
        return Failure("PodKilled", message, failure_class="infrastructure")
    words = pod.termination_message.strip().splitlines()
    last = f": {words[-1]}" if words else ""
    return Failure("StageFailed", f"Pod {pod.name} ended with exit code {pod.exit_code}{last}")

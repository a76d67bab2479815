"""What is in the cluster, reduced to what decisions are made from. Values only: no API, no clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from distill_runtime.contract import Progress

LABEL_PREFIX = "npu-distill.io"
KIND_LABEL = f"{LABEL_PREFIX}/kind"
NAME_LABEL = f"{LABEL_PREFIX}/name"
UID_LABEL = f"{LABEL_PREFIX}/uid"
STAGE_LABEL = f"{LABEL_PREFIX}/stage"
ATTEMPT_LABEL = f"{LABEL_PREFIX}/attempt"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGER = "npu-distill"
CHILD_SELECTOR = f"{MANAGED_BY_LABEL}={MANAGER}"

DISRUPTION = "DisruptionTarget"
"""Condition of a Pod that is taken off its node: by a drain, a preemption, a lost node or the kubelet."""
CONTAINER = "stage"
"""The container of a stage's Pods."""
SERVER_CONTAINER = "server"
"""The container of the server beside a stage."""
CONTRACT_ANNOTATION = f"{LABEL_PREFIX}/contract"
"""Of a stage's Pods, by which they are told what to do."""
INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
LONGEST_NUMBER = 10


@dataclass(frozen=True, order=True)
class ResourceKey:
    """Names one custom resource of this group."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class PodListing:
    """The Pods that there are under one object's name, as they come from the API server, as of a resourceVersion."""

    version: int
    bodies: tuple[Mapping[str, Any], ...]


Dependencies = Mapping[ResourceKey, Mapping[str, Any]]
"""The objects that one waits for, as far as they exist."""


@dataclass(frozen=True)
class JobView:
    """A Job that runs, or ran, one attempt of a stage; or one that merely has the labels of such a Job."""

    name: str
    uid: str
    owner_uid: str
    """uid of the object that controls it, by its ownerReferences, which unlike labels nobody copies by accident."""
    stage: str
    attempt: int
    output: str | None = None
    """Directory on the claim that it was told to write to."""
    created_at: datetime | None = None
    started_at: datetime | None = None
    """When the Job controller has taken it up; None before, and of one that is suspended."""
    suspended: bool = False
    """Whether it is held back, as by a queue: it has no Pods, or they are ending."""
    deleting: bool = False
    complete: bool = False
    failed: bool = False
    failure_message: str = ""
    ended_pods: int = 0
    """Pods of it that have ended, whether they are still there or not."""
    failed_indexes: frozenset[int] = frozenset()
    """Indexes whose Pods have failed too often to be replaced again."""
    finished_at: datetime | None = None

    @property
    def finished(self) -> bool:
        """Whether it will run no more Pods."""
        return self.complete or self.failed

    @property
    def disrupted(self) -> bool:
        """Whether it failed by the rule for disrupted Pods of its podFailurePolicy, which its message quotes."""
        return f"has condition {DISRUPTION}" in self.failure_message


@dataclass(frozen=True)
class PodView:
    """A Pod of such a Job; or one that merely has the labels of such a Pod."""

    name: str
    owner_uid: str
    """uid of the object that its labels name."""
    job_uid: str
    """uid of the Job that controls it, by its ownerReferences; empty if none does."""
    index: int
    phase: str = "Pending"
    ip: str = ""
    node: str = ""
    deletion_timestamp: datetime | None = None
    """When it must have ended: the API server adds the grace period to the time of the deletion."""
    scheduled_at: datetime | None = None
    finished_at: datetime | None = None
    unschedulable: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    server_ended: str = ""
    """How the server beside the stage ended last, as one word such as OOMKilled; empty while it has not."""
    server_message: str = ""
    """Its last words, or what kept it from being started."""
    exit_code: int | None = None
    exit_reason: str = ""
    termination_message: str = ""
    pod_reason: str = ""
    pod_message: str = ""
    disruption: str = ""
    node_silent: bool = False
    """Whether its node is not heard of: the node controller says that it is not ready, its kubelet last that it is."""

    @property
    def finished(self) -> bool:
        """Whether its container has ended for good."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def deleting(self) -> bool:
        """Whether it has been told to end."""
        return self.deletion_timestamp is not None

    @property
    def disrupted(self) -> bool:
        """Whether it ends since it is taken off its node; the condition alone may come to nothing."""
        return bool(self.disruption) and not self.evicted and (self.deleting or self.finished)

    @property
    def lost(self) -> bool:
        """Whether it was told to end on a node that is not heard of."""
        return self.node_silent and self.deleting and not self.finished

    @property
    def evicted(self) -> bool:
        """Whether the kubelet ended it, for its node had no memory or disk left: it may be what took them."""
        return self.pod_reason == "Evicted"

    @property
    def running(self) -> bool:
        """Whether it can be asked for its progress."""
        return self.phase == "Running" and bool(self.ip) and not self.deleting


@dataclass(frozen=True)
class Observation:
    """Everything that one object's next step depends on."""

    resource: Mapping[str, Any]
    jobs: tuple[JobView, ...] = ()
    pods: tuple[PodView, ...] = ()
    dependencies: Dependencies = field(default_factory=dict)
    progress: Mapping[str, Progress] = field(default_factory=dict)
    confirmed: bool = False
    """Whether the Pods are as the API server has just listed them, and not as the watch brought them."""

    @property
    def uid(self) -> str:
        """uid of the custom resource."""
        return str(self.resource["metadata"]["uid"])


def owner_key(body: Mapping[str, Any]) -> ResourceKey | None:
    """Give the custom resource that a child's labels name, or None for an object that is not a child of ours."""
    labels = body["metadata"].get("labels", {})
    if KIND_LABEL not in labels or NAME_LABEL not in labels:
        return None
    return ResourceKey(labels[KIND_LABEL], body["metadata"]["namespace"], labels[NAME_LABEL])


def view_job(body: Mapping[str, Any]) -> JobView:
    """Reduce a Job."""
    metadata, status = body["metadata"], body.get("status", {})
    labels = metadata.get("labels", {})
    conditions = {item["type"]: item for item in status.get("conditions", []) if item["status"] == "True"}
    failure = conditions.get("Failed", {})
    end = conditions.get("Complete") or conditions.get("Failed") or {}
    return JobView(
        name=metadata["name"],
        uid=metadata["uid"],
        owner_uid=_controller(metadata),
        stage=labels.get(STAGE_LABEL, ""),
        attempt=_number(labels.get(ATTEMPT_LABEL, "")),
        output=_output(body),
        created_at=_time(metadata.get("creationTimestamp")),
        started_at=_time(status.get("startTime")),
        suspended=body.get("spec", {}).get("suspend", False),
        deleting="deletionTimestamp" in metadata,
        complete="Complete" in conditions,
        failed="Failed" in conditions,
        failure_message=failure.get("message", ""),
        ended_pods=_ended_pods(status),
        failed_indexes=_indexes(status.get("failedIndexes", "")),
        finished_at=_time(end.get("lastTransitionTime")),
    )


def view_pod(body: Mapping[str, Any]) -> PodView:
    """Reduce a Pod; what other containers somebody has injected into it do is no matter."""
    metadata, status = body["metadata"], body.get("status", {})
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    state = _container(status, "containerStatuses", CONTAINER).get("state", {})
    server = _container(status, "initContainerStatuses", SERVER_CONTAINER)
    server_end = server.get("state", {}).get("terminated") or server.get("lastState", {}).get("terminated", {})
    terminated, waiting = state.get("terminated", {}), state.get("waiting", {})
    if waiting or not state:  # before a stage's container is started, what it waits for is the server's
        waiting = server.get("state", {}).get("waiting") or waiting
    return PodView(
        name=metadata["name"],
        owner_uid=labels.get(UID_LABEL, ""),
        job_uid=_controller(metadata),
        index=_number(annotations.get(INDEX_ANNOTATION, "")),
        phase=status.get("phase", "Pending"),
        ip=status.get("podIP", ""),
        node=body.get("spec", {}).get("nodeName", ""),
        deletion_timestamp=_time(metadata.get("deletionTimestamp")),
        scheduled_at=_time(_condition(status, "PodScheduled", "True").get("lastTransitionTime")),
        finished_at=_time(terminated.get("finishedAt")),
        unschedulable=_said(status, "PodScheduled", "False"),
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        server_ended=server_end.get("reason", ""),
        server_message=server_end.get("message", ""),
        exit_code=terminated.get("exitCode"),
        exit_reason=terminated.get("reason", ""),
        termination_message=terminated.get("message", ""),
        pod_reason=status.get("reason", ""),
        pod_message=status.get("message", ""),
        disruption=_said(status, DISRUPTION, "True"),
        node_silent=_is_node_silent(status),
    )


def _container(status: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    """Give the status of one container, an empty one while there is none."""
    found: Mapping[str, Any] = next((item for item in status.get(kind, []) if item["name"] == name), {})
    return found


def _is_node_silent(status: Mapping[str, Any]) -> bool:
    """Tell whether the node controller has marked a Pod since its node is not ready (MarkPodsNotReady).

    It sets the condition Ready and gives no reason; a kubelet, which says Ready of the Pod where its containers are,
    gives one (ContainersNotReady, ReadinessGatesNotReady, PodCompleted). So a Pod tells of its node, which only a right
    on the whole cluster would let the operator look at. Seen on 1.34: 46 s after the kubelet had stopped.
    """
    not_ready = _condition(status, "Ready", "False")
    containers_ready = _condition(status, "ContainersReady", "True")
    return bool(not_ready and containers_ready) and not not_ready.get("reason")


def _controller(metadata: Mapping[str, Any]) -> str:
    """Give the uid of what controls an object, by which alone it is told whose it is."""
    owners = metadata.get("ownerReferences", [])
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), "")


def _number(text: str) -> int:
    """Read a number of a child of ours; on what only looks like one anything may be written."""
    return int(text) if text.isdecimal() and text.isascii() and len(text) < LONGEST_NUMBER else 0


def _output(job: Mapping[str, Any]) -> str | None:
    """Give where a Job writes to, by the contract that its Pods get; None if it has none that can be read."""
    template = job.get("spec", {}).get("template", {}).get("metadata", {})
    try:
        contract = from_json(template.get("annotations", {}).get(CONTRACT_ANNOTATION, ""))
    except ValueError:
        return None
    output = contract.get("output") if isinstance(contract, dict) else None
    return output if isinstance(output, str) else None


def _ended_pods(job_status: Mapping[str, Any]) -> int:
    uncounted = job_status.get("uncountedTerminatedPods", {})
    counted: int = job_status.get("failed", 0) + job_status.get("succeeded", 0)
    return counted + sum(len(uids) for uids in uncounted.values())


def _indexes(text: str) -> frozenset[int]:
    """Read indexes as a Job's status has them, such as `1,3-5`."""
    spans = (span.partition("-") for span in text.split(",") if span)
    return frozenset(index for first, _, last in spans for index in range(int(first), int(last or first) + 1))


def _said(status: Mapping[str, Any], name: str, value: str) -> str:
    """Give what the condition `name` says, if it has this value."""
    condition = _condition(status, name, value)
    return str(condition.get("message") or condition.get("reason", ""))


def _condition(status: Mapping[str, Any], name: str, value: str) -> Mapping[str, Any]:
    """Give the condition `name`, if it has this value; else an empty one."""
    conditions = (item for item in status.get("conditions", []) if (item["type"], item["status"]) == (name, value))
    return next(conditions, {})


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None

"""A small model of a cluster around one object: the Job controller, the kubelet, watches that lag, a clock.

It stands where the API server and the stage Pods are; what reconciles is the real `Reconciler`. Every write of the
operator goes through `SimulatedCluster`, which can refuse it or end the operator there. What the operator knows comes
by three watches (object, Jobs, Pods), each in order, each with a delay of its own, into the real store.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Literal, TypeVar

from unit.operator.builders import NAMESPACE, NOW, SETTINGS

from distill_operator.errors import ConflictError
from distill_operator.metrics import Metrics
from distill_operator.observation import (
    CONTAINER,
    DISRUPTION,
    INDEX_ANNOTATION,
    STAGE_LABEL,
    PodListing,
    PodView,
    ResourceKey,
)
from distill_operator.plan.events import Notice
from distill_operator.reconcile import Reconciler
from distill_operator.store import WatchedStore
from distill_runtime.contract import EXIT_TERMINATED, EXIT_WRONG_INPUT, ArtifactReference, Progress, Result

DIGEST = f"sha256:{'a' * 64}"
COPIED = "npu-distill/made-by-a-copy"

UNITS = 100
"""What a Pod does until it ends well."""
DELAYED = timedelta(seconds=90)
"""How long a watch is held back: whole stages go by."""
GRACE_PERIOD = timedelta(seconds=30)

Stream = Literal["object", "jobs", "pods"]
STREAMS: tuple[Stream, ...] = ("object", "jobs", "pods")
T = TypeVar("T")


class Killed(BaseException):
    """The operator is ended here, as by SIGKILL."""


class Moment(Enum):
    """When, about a write, something happens to it."""

    BEFORE = auto()
    """It is not done."""
    UNANSWERED = auto()
    """It is done, and its answer does not arrive."""
    ANSWERED = auto()
    """Its answer has arrived, and nothing has been asked of the cluster since."""


@dataclass(frozen=True)
class Strike:
    """An error at one write of the operator; `after` counts those that go well before it."""

    after: int
    moment: Moment
    error: Callable[[str], BaseException]


@dataclass
class SimulatedPod:
    """A Pod as the kubelet sees it."""

    name: str
    job: "SimulatedJob"
    index: int
    created_at: datetime
    phase: str = "Pending"
    exit_code: int | None = None
    words: str = ""
    deletion_timestamp: datetime | None = None
    disrupted: bool = False
    copied: bool = False
    """A person has copied the Pod's manifest: it has all of its labels and belongs to no Job."""
    done: int = 0

    @property
    def finished(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def deleting(self) -> bool:
        return self.deletion_timestamp is not None

    def body(self) -> dict[str, Any]:
        terminated = {"exitCode": self.exit_code, "message": self.words, "finishedAt": self.created_at.isoformat()}
        state = {"terminated": terminated} if self.finished else {}
        deletion = {"deletionTimestamp": self.deletion_timestamp.isoformat()} if self.deletion_timestamp else {}
        labels = self.job.manifest["spec"]["template"]["metadata"]["labels"]
        job = {"kind": "Job", "name": self.job.name, "uid": self.job.uid, "controller": True}
        owners = [] if self.copied else [job]
        annotations = {INDEX_ANNOTATION: str(self.index)}
        disruption = {"type": DISRUPTION, "status": "True", "message": "Eviction API: evicting"}
        conditions = [disruption] if self.disrupted else []
        status = {
            "phase": self.phase,
            "podIP": "10.0.0.1",
            "containerStatuses": [{"name": CONTAINER, "state": state}],
            "conditions": conditions,
        }
        return {
            "metadata": {
                "name": self.name,
                "namespace": NAMESPACE,
                "uid": self.name,
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": owners,
                **deletion,
            },
            "spec": {"nodeName": "node-1"},
            "status": status,
        }


@dataclass
class SimulatedJob:
    """A Job as its controller sees it."""

    manifest: Mapping[str, Any]
    uid: str
    created_at: datetime
    started_at: datetime | None = None
    deleting: bool = False
    failures: Counter[int] = field(default_factory=Counter)
    failing: bool = False
    succeeded: set[int] = field(default_factory=set)
    wrong_input: bool = False
    condition: str = ""
    message: str = ""
    finished_at: datetime | None = None

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def stage(self) -> str:
        return str(self.manifest["metadata"]["labels"][STAGE_LABEL])

    def body(self) -> dict[str, Any]:
        at = self.finished_at.isoformat() if self.finished_at else None
        condition = {"type": self.condition, "status": "True", "lastTransitionTime": at, "message": self.message}
        conditions = [condition] if self.condition else []
        started = {"startTime": self.started_at.isoformat()} if self.started_at is not None else {}
        metadata = {**self.manifest["metadata"], "uid": self.uid, "creationTimestamp": self.created_at.isoformat()}
        if self.deleting:
            metadata["deletionTimestamp"] = NOW.isoformat()
        failed = ",".join(map(str, self.failed_indexes()))
        status = {**started, "conditions": conditions, "failedIndexes": failed} if started or conditions else {}
        return {"metadata": metadata, "spec": self.manifest["spec"], "status": status}

    def failed_indexes(self) -> list[int]:
        limit = self.manifest["spec"].get("backoffLimitPerIndex", math.inf)
        return sorted(index for index, failures in self.failures.items() if failures > limit)

    def exceeds_its_limit(self) -> bool:
        spec = self.manifest["spec"]
        if "backoffLimit" in spec:
            return self.failures.total() > int(spec["backoffLimit"])
        return len(self.failed_indexes()) > int(spec["maxFailedIndexes"])


@dataclass
class Delay:
    """A watch that brings nothing more after so many events, for some time."""

    stream: Stream
    after: int
    until: datetime | None = None


class SimulatedCluster:
    """The truth, and what the operator knows of it. Implements what the Reconciler takes as its cluster and poller."""

    def __init__(self, key: ResourceKey, resource: dict[str, Any], dependency: dict[str, Any] | None = None) -> None:
        self.key = key
        self.now = NOW
        self.body = resource
        self.dependency_body = dependency
        self.jobs_by_name: dict[str, SimulatedJob] = {}
        self.pods_by_name: dict[str, SimulatedPod] = {}
        self.status_writes = 0
        self.notices: list[Notice] = []
        self.strike: Strike | None = None
        self.delay: Delay | None = None
        self.delivered: Counter[Stream] = Counter()
        self.writes = 0
        self.manifests: dict[str, Mapping[str, Any]] = {}
        """Of the Jobs that there ever were, by name."""
        self.started: Counter[str] = Counter()
        """Pods that the Job controller has made, by Job and index."""
        self._made = 0
        self._version = 0
        self._published: dict[Stream, dict[str, dict[str, Any]]] = {name: {} for name in STREAMS}
        self.streams: dict[Stream, deque[tuple[str, dict[str, Any]]]] = {name: deque() for name in STREAMS}
        self._object_changed(generation=1)
        self.relist()

    # What changes the truth

    @property
    def suspended(self) -> bool:
        return bool(self.body["spec"].get("suspend"))

    def toggle_suspend(self, suspend: bool) -> None:
        self.body = {**self.body, "spec": {**self.body["spec"], "suspend": suspend}}
        self._object_changed(generation=self.body["metadata"]["generation"] + 1)

    def run_job_controller(self, job: SimulatedJob) -> None:
        """One pass: end the Job, or create the Pods that are missing."""
        pods = self._pods_of(job)
        active = [pod for pod in pods if not pod.finished]
        if job.deleting:
            self._delete_in_the_foreground(job, pods)
        elif job.condition:
            return
        elif job.failing and active:
            for pod in active:
                self._delete_pod(pod)
        elif job.failing:
            self._end_job(job, "Failed")
        elif len(job.succeeded) == job.manifest["spec"]["completions"]:
            self._end_job(job, "Complete")
        else:
            present = job.succeeded | {pod.index for pod in active}
            for index in sorted(set(range(job.manifest["spec"]["completions"])) - present):
                self._create_pod(job, index)
            if job.started_at is None:
                job.started_at = self.now
                self._publish("jobs", job.name, job.body())

    def start_pod(self, pod: SimulatedPod) -> None:
        pod.phase = "Running"
        self._publish("pods", pod.name, pod.body())

    def end_pod(self, pod: SimulatedPod, exit_code: int) -> None:
        """The Pod's container ends. What it says is what the job runtime would say."""
        pod.phase, pod.exit_code = ("Succeeded", 0) if exit_code == 0 else ("Failed", exit_code)
        pod.words = _last_words(pod, exit_code)
        if not pod.copied:
            self._count_end(pod, exit_code)
        self._publish("pods", pod.name, pod.body())

    def _count_end(self, pod: SimulatedPod, exit_code: int) -> None:
        job = pod.job
        if exit_code == 0:
            job.succeeded.add(pod.index)
        else:
            job.failures[pod.index] += 1
            job.wrong_input = job.wrong_input or exit_code == EXIT_WRONG_INPUT
            if pod.disrupted and not job.failing and job.manifest["spec"].get("backoffLimit") == 0:
                job.message = f"Pod {pod.name} has condition {DISRUPTION} matching FailJob rule at index 1"
            job.failing = job.failing or job.wrong_input or job.exceeds_its_limit()

    def evict_pod(self, pod: SimulatedPod) -> None:
        pod.disrupted = True
        self._delete_pod(pod)

    def remove_pod(self, pod: SimulatedPod) -> None:
        """The kubelet is done with a Pod that is being deleted. What it said and nobody has recorded is lost."""
        if not pod.finished:
            self.end_pod(pod, EXIT_TERMINATED)
        if not pod.copied and self._recorded(pod.job.stage) != "Failed":
            pod.job.wrong_input = False
        del self.pods_by_name[pod.name]
        self._publish("pods", pod.name, None)

    def delete_job_by_hand(self, job: SimulatedJob) -> None:
        """`kubectl delete job`: the Job is gone at once, the garbage collector deletes its Pods afterwards."""
        del self.jobs_by_name[job.name]
        self._publish("jobs", job.name, None)
        for pod in self._pods_of(job):
            self._delete_pod(pod)

    def remove_ended_job(self, job: SimulatedJob) -> None:
        """The Job's TTL is over: it goes with its Pods, and with what nobody has recorded."""
        for pod in self._pods_of(job):
            del self.pods_by_name[pod.name]
            self._publish("pods", pod.name, None)
        del self.jobs_by_name[job.name]
        self._publish("jobs", job.name, None)

    def copy_pod(self, pod: SimulatedPod) -> None:
        """`kubectl get pod -o yaml | kubectl apply`, under another name and without its owner."""
        copy = SimulatedPod(f"copy-{self._uid()}", pod.job, pod.index, self.now, copied=True)
        self.pods_by_name[copy.name] = copy
        self._publish("pods", copy.name, copy.body())

    def raise_retry(self) -> int:
        """A person has mended what was wrong, and says so."""
        retry = int(self.body["spec"].get("retry", 0)) + 1
        for job in self.jobs_by_name.values():
            if self._recorded(job.stage) == "Failed":
                job.wrong_input = False
        self.body = {**self.body, "spec": {**self.body["spec"], "retry": retry}}
        self._object_changed(generation=self.body["metadata"]["generation"] + 1)
        return retry

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    # What the operator sees, late

    def relist(self) -> None:
        """The operator starts: it lists everything as it is."""
        self.streams = {name: deque() for name in STREAMS}
        self.store = WatchedStore()
        for stream, bodies in self._published.items():
            for body in bodies.values():
                self.store.put(self._kind(stream), body)
        self._know_dependency()

    def is_held_back(self, stream: Stream) -> bool:
        """Tell whether a watch has an event that does not arrive yet."""
        delay = self.delay
        if delay is None or delay.stream != stream or self.delivered[stream] < delay.after:
            return False
        if delay.until is None:
            delay.until = self.now + DELAYED
        return self.now < delay.until

    def deliver(self, stream: Stream) -> None:
        """Let one event of a watch arrive."""
        self.delivered[stream] += 1
        change, body = self.streams[stream].popleft()
        if change == "DELETED":
            self.store.discard(self._kind(stream), body["metadata"]["uid"])
        else:
            self.store.put(self._kind(stream), body)

    def depend_on(self, body: dict[str, Any] | None) -> None:
        """The object that this one waits for is made, or deleted; the operator knows at once."""
        if self.dependency_body is not None:
            self.store.discard(self._dependency_kind(), self.dependency_body["metadata"]["uid"])
        self.dependency_body = body
        self._know_dependency()

    def _know_dependency(self) -> None:
        if self.dependency_body is not None:
            self.store.put(self._dependency_kind(), self.dependency_body)

    def _dependency_kind(self) -> str:
        return {"FinetuneRun": "DistillDataset", "EvalRun": "FinetuneRun"}[self.key.kind]

    def _kind(self, stream: Stream) -> str:
        return {"object": self.key.kind, "jobs": "Job", "pods": "Pod"}[stream]

    # The Reconciler's poller

    def follow(self, key: ResourceKey, pods: Iterable[PodView]) -> dict[str, Progress]:
        self._suffer(Moment.ANSWERED)
        truth = {pod.name: self.pods_by_name[pod.name] for pod in pods if pod.name in self.pods_by_name}
        return {
            name: Progress(stage=pod.job.stage, done=pod.done, total=UNITS, unit="generations")
            for name, pod in truth.items()
        }

    def forget(self, key: ResourceKey) -> None:
        """Nothing is remembered."""

    def has_running_pods(self) -> bool:
        """Whether a Pod is known that answers: it does once an interval, and each answer is a reason to look."""
        return any(pod.running for pod in self.store.pods(self.key))

    # The Reconciler's cluster

    async def create(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        with self._writing():
            name, kind = manifest["metadata"]["name"], manifest["kind"]
            if kind != "Job":
                return dict(manifest)
            if name in self.jobs_by_name:
                return self._published["jobs"][name]  # the same manifest changes nothing
            stage = manifest["metadata"]["labels"][STAGE_LABEL]
            assert self._recorded(stage) != "Succeeded", f"stage {stage} is started again"
            wrong = [job.name for job in self.jobs_by_name.values() if job.stage == stage and job.wrong_input]
            assert not wrong, f"{name} is started, although {wrong} has said that the input is wrong"
            job = SimulatedJob(manifest, self._uid(), self.now)
            self.jobs_by_name[name] = job
            self.manifests[name] = manifest
            self._publish("jobs", name, job.body())
            return self._published["jobs"][name]

    async def list_pods(self, key: ResourceKey) -> PodListing:
        return PodListing(self._version, tuple(self._published["pods"].values()))

    async def delete_job(self, namespace: str, name: str, uid: str) -> None:
        with self._writing():
            job = self.jobs_by_name.get(name)
            if job is not None and job.uid == uid and not job.deleting:
                job.deleting = True
                self._publish("jobs", name, job.body())

    async def apply_status(self, key: ResourceKey, version: str, status: Mapping[str, Any]) -> dict[str, Any]:
        with self._writing():
            if version != self.body["metadata"]["resourceVersion"]:
                raise ConflictError(key)
            self.status_writes += 1
            self.body = {**self.body, "status": dict(status)}
            self._object_changed(generation=self.body["metadata"]["generation"])
            return self.body

    # Where the Reconciler announces

    def announce(self, key: ResourceKey, uid: str, notice: Notice) -> None:
        self._suffer(Moment.ANSWERED)
        self.notices.append(notice)

    # Inside

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._suffer(Moment.ANSWERED)
        self._suffer(Moment.BEFORE)
        yield
        self.writes += 1
        self._suffer(Moment.UNANSWERED)
        if self.strike is not None:
            self.strike = replace(self.strike, after=self.strike.after - 1)

    def _suffer(self, moment: Moment) -> None:
        strike = self.strike
        due = -1 if moment is Moment.ANSWERED else 0
        if strike is not None and (strike.moment, strike.after) == (moment, due):
            self.strike = None
            raise strike.error("struck by the simulation")

    def _recorded(self, stage: str) -> str | None:
        stages = self.body.get("status", {}).get("stages", [])
        return next((item["state"] for item in stages if item["name"] == stage), None)

    def _uid(self) -> str:
        self._made += 1
        return f"uid-{self._made}"

    def _object_changed(self, generation: int) -> None:
        self.body = {**self.body, "metadata": {**self.body["metadata"], "generation": generation}}
        self._publish("object", self.key.name, self.body)
        self.body = self._published["object"][self.key.name]

    def _pods_of(self, job: SimulatedJob) -> list[SimulatedPod]:
        return [pod for pod in self.pods_by_name.values() if pod.job is job and not pod.copied]

    def _delete_in_the_foreground(self, job: SimulatedJob, pods: list[SimulatedPod]) -> None:
        """A Job that is deleted by the operator stays until its last Pod has gone."""
        for pod in pods:
            self._delete_pod(pod)
        if not pods:
            del self.jobs_by_name[job.name]
            self._publish("jobs", job.name, None)

    def _create_pod(self, job: SimulatedJob, index: int) -> None:
        pod = SimulatedPod(f"{job.name}-{index}-{self._uid()}", job, index, self.now)
        self.pods_by_name[pod.name] = pod
        self.started[f"{job.name}-{index}"] += 1
        self._publish("pods", pod.name, pod.body())

    def _delete_pod(self, pod: SimulatedPod) -> None:
        if not pod.deleting:
            pod.deletion_timestamp = self.now + GRACE_PERIOD
            self._publish("pods", pod.name, pod.body())

    def _end_job(self, job: SimulatedJob, condition: str) -> None:
        job.condition, job.finished_at = condition, self.now.replace(microsecond=0)
        self._publish("jobs", job.name, job.body())

    def _publish(self, stream: Stream, name: str, body: dict[str, Any] | None) -> None:
        if body is None:
            self.streams[stream].append(("DELETED", self._published[stream].pop(name)))
            return
        self._version += 1
        body = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self._version)}}
        self._published[stream][name] = body
        self.streams[stream].append(("MODIFIED", body))


def _last_words(pod: SimulatedPod, exit_code: int) -> str:
    outcome = {0: "Succeeded", EXIT_WRONG_INPUT: "WrongInput", EXIT_TERMINATED: "Terminated"}.get(exit_code, "Failed")
    uri = COPIED if pod.copied else f"npu-distill/{pod.job.stage}"
    artifact = ArtifactReference(uri=uri, digest=DIGEST) if exit_code == 0 else None
    return Result(
        outcome=outcome,
        reason=f"{outcome}Said",
        message=f"{pod.job.stage}: {outcome}",
        artifact=artifact,
        counts={"steps": UNITS, "totalSteps": UNITS} if exit_code == 0 else {},
    ).to_termination_message()


class SimulatedOperator:
    """The operator's process: the real Reconciler, called when an event arrives or the time it asked for has come."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self.cluster = cluster
        self.wake_at: datetime | None = None
        self.awake = True
        self.start()

    def start(self) -> None:
        """Start with empty memory, as after a kill."""
        self.cluster.relist()
        self.reconciler = Reconciler(
            self.cluster.store,
            self.cluster,  # the model stands for the API server and for the Pods
            self.cluster,
            SETTINGS,
            Metrics(),
            clock=lambda: self.cluster.now,
            concern=self.look_again,
            announce=self.cluster.announce,
        )
        self.awake, self.wake_at = True, None

    def deliver(self, stream: Stream) -> None:
        self.cluster.deliver(stream)
        self.awake = True

    def look_again(self, _: ResourceKey) -> None:
        self.awake = True

    def step(self) -> None:
        """Reconcile once, if there is a reason to."""
        if not self.awake and (self.wake_at is None or self.cluster.now < self.wake_at):
            return
        self.awake = False
        try:
            wait = _finish(self.reconciler.reconcile(self.cluster.key))
        except Killed:
            self.start()
            return
        waits = [wait, SETTINGS.progress_interval_seconds if self.cluster.has_running_pods() else None]
        until = min((seconds for seconds in waits if seconds is not None), default=None)
        self.wake_at = self.cluster.now + timedelta(seconds=until) if until is not None else None


def _finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing, since everything it calls is simulated."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("the simulation does not wait")

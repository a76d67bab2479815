"""What the three kinds have in common: references, storage, accelerators, conditions, stages."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

from pydantic import ConfigDict, Field

from distill_operator.api.pod_template import DnsName, PodTemplate
from distill_operator.api.rules import Rule, with_rules
from distill_runtime.contract import Model
from distill_runtime.contract.comparison import Judgement

GROUP = "npu-distill.io"
VERSION = "v1alpha1"
NAME_LIMIT = 36
"""Longest name of a custom resource: its Pods' names, of at most 63 characters, are
`<name>-<stage>-a<attempt>-<index>-<5 characters>`, and the longest stage is `train-preflight`."""


class ObjectReference(Model):
    """Another object of the same namespace."""

    name: DnsName = Field(description="Its name.")


Credentials = Annotated[
    ObjectReference | None,
    Field(
        description="Secret whose keys become environment variables of the Pods that read sources: HF_TOKEN for the "
        "Hugging Face hub; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN for s3://."
    ),
]


class Storage(Model):
    """Where inputs are read and artifacts are written."""

    claim_name: DnsName = Field(
        description="PersistentVolumeClaim that every stage mounts; ReadWriteMany where Pods run on several nodes."
    )
    path: str = Field(
        default="npu-distill",
        min_length=1,
        max_length=512,
        description="Directory on the claim for artifacts; they go to <path>/<namespace>/<name>/<stage>-<hash>.",
        json_schema_extra=with_rules(
            Rule(
                "!self.startsWith('/') && !self.split('/').exists(part, part == '..')",
                "path is relative to the claim: no leading slash, no '..'",
            )
        ),
    )


class RunSpec(Model):
    """What the spec of every kind has: where its artifacts are, and whether and how its Jobs run."""

    storage: Storage = Field(description="Where inputs are read and artifacts are written.")
    suspend: bool = Field(default=False, description="Stop and free all Pods; false again goes on where it was.")
    priority_class_name: DnsName | None = Field(default=None, description="PriorityClass of Pods started from now on.")
    pod_template: PodTemplate | None = Field(
        default=None,
        description="What is added to Pods started from now on, as far as the chart's values allow it.",
    )
    retry: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Raise it to have a stage that has failed started again, from where it was. Raised while nothing "
        "has failed, it changes nothing.",
    )


class SecretKeyReference(Model):
    """A key of a Secret of the same namespace."""

    name: DnsName = Field(description="Name of the Secret.")
    key: str = Field(min_length=1, max_length=253, description="Key in its data.")


class Accelerator(Model):
    """The devices of a run."""

    profile: DnsName = Field(
        description="Accelerator profile of the operator's configuration: cpu, ascend-910b, ascend-a3, or one of your "
        "own (values.yaml, profiles)."
    )
    nodes: int = Field(default=1, ge=1, le=1024, description="Nodes, one Pod on each.")
    devices_per_node: int = Field(
        default=1, ge=1, le=64, description="Devices of each node, one worker process a device."
    )


class Serve(Model):
    """The server that serves weights for as long as they are asked."""

    server: DnsName = Field(
        description="Server of the operator's configuration: vllm-ascend, mindie, mindformers, or one of your own "
        "(values.yaml, servers)."
    )
    args: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(max_length=64)] = Field(
        default=(), description="Words that are added to its command, such as --gpu-memory-utilization=0.8."
    )


class StageState(StrEnum):
    """Where a stage stands."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Artifact(Model):
    """A finished directory on the claim."""

    uri: str = Field(description="Path on the claim.")
    digest: str = Field(description="sha256 of its manifest.json, which lists the sha256 of every file.")


class StageInput(Model):
    """What an input of a stage was."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(description="What it is to the stage: prompts, rows, benchmark, tokenizer, model, endpoint …")
    uri: str = Field(description="Where it is.")
    value: str = Field(description="What its content is told by: a digest, or what a server says of it.")


class AttemptStatus(Model):
    """One attempt of a stage: where it ran, how far it came, why it ended. Names as in attempts.jsonl."""

    model_config = ConfigDict(extra="ignore")

    attempt: int = Field(description="Its number, which its Job's name ends in.")
    nodes: tuple[str, ...] = Field(default=(), description="Where its Pods ran; of very many the first.")
    began_at: datetime | None = Field(default=None, description="When its Job was created.")
    ended_at: datetime | None = Field(default=None, description="When it ended, or was given up.")
    reason: str | None = Field(default=None, description="Why it ended, as one word.")
    failure_class: str | None = Field(default=None, description="workload, infrastructure or unknown, if it failed.")
    faulty_node: str | None = Field(
        default=None, description="Node at fault, which the attempts of the next day avoid where another one fits."
    )
    resumed_from_step: int | None = Field(default=None, description="Steps that were done and saved when it began.")
    to_step: int | None = Field(default=None, description="The last step that it was seen to do.")
    lost_steps: int | None = Field(default=None, description="Steps of it that the next attempt had to do again.")
    computing_device_minutes: float | None = Field(default=None, description="Its devices' time for steps.")
    waiting_device_minutes: float | None = Field(default=None, description="Its devices' time without a step.")
    lost_device_minutes: float | None = Field(default=None, description="Of the computing, for lost steps.")


class StageStatus(Model):
    """How one stage is doing."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(description="Name of the stage.")
    state: StageState = Field(description="Pending, Running, Succeeded or Failed.")
    attempt: int = Field(default=1, description="Counts the Jobs started for this stage.")
    disrupted: tuple[int, ...] = Field(
        default=(),
        description="Attempts that ended since a Pod of them was taken off its node. They do not count as failures.",
    )
    failures: int = Field(
        default=0, description="Failed attempts in a row before this one that got no further than those before them."
    )
    done_before: int | None = Field(
        default=None, description="Units that the attempts before this one had finished; more is progress."
    )
    retry: int = Field(default=0, description="spec.retry when it failed; once that is raised, it starts again.")
    attempts: tuple[AttemptStatus, ...] = Field(
        default=(),
        description="The latest attempts of a training, the last one last; attempts.jsonl has all.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["attempt"]},
    )
    job: str | None = Field(default=None, description="Job of the latest attempt.")
    output: str | None = Field(
        default=None, description="Directory on the claim that it writes to; what is under way is beside it."
    )
    started_at: datetime | None = Field(default=None, description="When the first attempt started.")
    finished_at: datetime | None = Field(default=None, description="When the stage ended.")
    done: int | None = Field(default=None, description="Units finished.")
    total: int | None = Field(default=None, description="Units in all.")
    unit: str | None = Field(default=None, description="What is counted.")
    rate: float | None = Field(default=None, description="Units a second, recent.")
    eta_seconds: int | None = Field(default=None, description="Seconds left at the recent rate.")
    message: str | None = Field(default=None, description="What it does or waits for, or why it ended.")
    reason: str | None = Field(default=None, description="Why it failed, as one word.")
    failure_class: str | None = Field(
        default=None,
        description="Whose fault the last failure was: workload is what was asked for, infrastructure what it runs on; "
        "unknown is either.",
    )
    counts: dict[str, int] = Field(
        default_factory=dict, description="What went in, what came out, and what was rejected, by reason."
    )
    metrics: dict[str, float] = Field(default_factory=dict, description="Measured figures.")
    inputs: tuple[StageInput, ...] = Field(
        default=(), description="What it read, by content; with very many inputs the first of them."
    )
    artifact: Artifact | None = Field(default=None, description="What it wrote.")
    judgement: Judgement | None = Field(default=None, description="What the stage compare has found.")


class Condition(Model):
    """A condition in the Kubernetes API conventions' form; the three types are those that kstatus reads."""

    type: str = Field(description="Ready, Reconciling or Stalled.")
    status: str = Field(description="True, False or Unknown.", json_schema_extra={"enum": ["True", "False", "Unknown"]})
    reason: str = Field(description="CamelCase word: the stage it is in, or why it does not go on.")
    message: str = Field(description="What it waits for, or what went wrong and what to do.")
    last_transition_time: datetime = Field(description="When the status last changed.")
    observed_generation: int = Field(description="metadata.generation that this was said of.")


class Status(Model):
    """Status of every kind."""

    model_config = ConfigDict(extra="ignore")

    observed_generation: int | None = Field(
        default=None, description="metadata.generation that this status is of; -1 before the first."
    )
    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Ready, Reconciling and Stalled.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    progress: str | None = Field(default=None, description="The running stage in a few words.")
    input: Artifact | None = Field(
        default=None,
        description="The artifact of the object that this one refers to, as it was when the first stage was planned. "
        "What becomes of that object afterwards does not matter.",
    )
    stages: tuple[StageStatus, ...] = Field(
        default=(),
        description="The stages in their order.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    artifact: Artifact | None = Field(default=None, description="The final artifact.")

    def to_json(self) -> dict[str, object]:
        """Give the JSON form without what is not known yet: no nulls, no empty maps or lists."""
        return {name: _without_empty(value) for name, value in super().to_json().items() if value not in ({}, [])}

    def condition(self, name: str) -> Condition | None:
        """Give the condition of type `name`, if it has been set."""
        return next((condition for condition in self.conditions if condition.type == name), None)

    @property
    def begun_with(self) -> tuple[str, ...]:
        """Names of the stages with which the object has begun; none before a Job was asked for."""
        has_begun = any(stage.job is not None for stage in self.stages)
        return tuple(stage.name for stage in self.stages) if has_begun else ()

    def stage(self, name: str) -> StageStatus | None:
        """Give the status of stage `name`, if it has one."""
        return next((stage for stage in self.stages if stage.name == name), None)


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_empty(child) for name, child in value.items() if child not in ({}, [])}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value


class Metadata(Model):
    """The part of an object's metadata that the operator reads."""

    model_config = ConfigDict(extra="ignore")

    name: str
    namespace: str
    uid: str
    generation: int = 1
    labels: dict[str, str] = Field(default_factory=dict)
    deletion_timestamp: datetime | None = None


class Column(Model):
    """A column of `kubectl get`."""

    name: str
    json_path: str
    type: str = "string"
    description: str
    priority: int = 0


def ready_columns() -> tuple[Column, ...]:
    """Columns that every kind starts with."""
    ready = ".status.conditions[?(@.type=='Ready')]"
    return (
        Column(name="Ready", json_path=f"{ready}.status", description="Whether it is done and good."),
        Column(name="Reason", json_path=f"{ready}.reason", description="The stage it is in, or why it stopped."),
        Column(name="Progress", json_path=".status.progress", description="The running stage in a few words."),
    )


def message_columns() -> tuple[Column, ...]:
    """Columns that every kind ends with."""
    message = ".status.conditions[?(@.type=='Ready')].message"
    return (
        Column(name="Age", json_path=".metadata.creationTimestamp", type="date", description="Time since creation."),
        Column(name="Message", json_path=message, description="What it waits for or what to do.", priority=1),
    )


Spec = TypeVar("Spec", bound=Model)
KindStatus = TypeVar("KindStatus", bound=Status)


class Resource(Model, Generic[Spec, KindStatus]):
    """A custom resource of this group."""

    model_config = ConfigDict(extra="ignore")

    plural: ClassVar[str]
    short_names: ClassVar[tuple[str, ...]]
    columns: ClassVar[tuple[Column, ...]]
    summary: ClassVar[str]

    metadata: Metadata
    spec: Spec
    status: KindStatus

    @classmethod
    def from_api(cls, body: Mapping[str, Any]) -> Self:
        """Read an object as the API server has it, without the fields that this version does not know.

        A person's mistake never gets here, since the API server refuses or prunes what the CRD does not declare. What
        does are the fields of newer CRDs, which are applied before the operator is upgraded and stay when it is
        rolled back.

        Raises:
            ValidationError: a field is missing, or has a value that this version does not take.
        """
        return cls.model_validate(body, extra="ignore")


AnyResource = Resource[Any, Any]

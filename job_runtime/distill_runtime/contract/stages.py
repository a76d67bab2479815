"""The contract of each stage: one JSON file, mounted into its Pod or written by hand, says all that it needs.

Every path in a contract is relative to the volume, which is where the claim is mounted (`/data` in a Pod, any
directory on a laptop). What differs between the Pods of one Job comes from their environment: the index from
JOB_COMPLETION_INDEX, the node's name from DISTILL_NODE, the teacher's key from DISTILL_API_KEY, those of its additional
models from DISTILL_API_KEY_1 and so on, a judge's from DISTILL_JUDGE_API_KEY. A contract never holds a secret.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from distill_runtime.contract.artifact import ArtifactReference
from distill_runtime.contract.base import Model
from distill_runtime.contract.identity import OPERATIONAL
from distill_runtime.contract.parameters import (
    Benchmark,
    Checkpoint,
    FilterParameters,
    Gate,
    MindFormersOverrides,
    ModelSource,
    PackedSource,
    PackParameters,
    Parallelism,
    PromptSource,
    Protocol,
    PublishedScore,
    RowSource,
    SelectParameters,
    TeacherParameters,
    Training,
)

StageName = Literal["generate", "filter", "select", "pack", "msrun", "export", "eval", "compare"]
CONTRACT_OF: Mapping[StageName, StageName] = {"export": "msrun"}
"""Stages that read the contract of another: `export` completes the artifact that `msrun` began, and the same contract
leads to the same directory."""

PROGRESS_PORT = 9390
"""Port of a stage Pod that serves /progress, /metrics and /healthz."""
RENDEZVOUS_PORT = 8118
"""Port of the first training Pod on which MindSpore's scheduler listens (msrun's default)."""
CONTRACT_PATH = "/etc/npu-distill/contract.json"
VOLUME_PATH = "/data"
API_KEY_VARIABLE = "DISTILL_API_KEY"
ADDITIONAL_API_KEY_VARIABLE = "DISTILL_API_KEY_{number}"
"""The key of each of a teacher's additional models, which are numbered from 1."""
JUDGE_API_KEY_VARIABLE = "DISTILL_JUDGE_API_KEY"
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
NODE_VARIABLE = "DISTILL_NODE"
"""Name of the node that a training Pod runs on."""

OWN_SERVER = "mindformers"
"""Name of the server that is part of the runtime, `python -m distill_runtime.serving.server`."""
SERVED_MODEL = "student"
"""Name under which weights are served to their evaluation."""
SERVER_OUTPUT_PATH = "/var/log/npu-distill-server"
"""Where a server that runs beside a stage leaves its output for it."""

DeviceTarget = Literal["CPU", "Ascend"]


class Owner(Model):
    """The custom resource that a stage runs for; for logs and manifests only."""

    kind: str
    namespace: str
    name: str


class StageContract(Model):
    """What all contracts have in common."""

    owner: Annotated[Owner | None, OPERATIONAL] = None
    attempt: Annotated[int, OPERATIONAL] = Field(
        default=1, ge=1, description="Counts the Jobs that the operator started for this stage."
    )
    output: Annotated[str, OPERATIONAL] = Field(
        min_length=1, description="Directory of the artifact, relative to the volume."
    )

    @property
    def subject(self) -> str:
        """What a person knows it by: the name of the custom resource or, by hand, the output."""
        return self.owner.name if self.owner is not None else self.output


class ServerBeside(Model):
    """The server that runs beside a stage, and only for it."""

    name: str = Field(default=OWN_SERVER, min_length=1)
    args: tuple[str, ...] = Field(default=(), description="Words that the object adds to its command.")
    definition: Annotated[str, OPERATIONAL] = Field(
        default="",
        description="Its image and what tells its command. Recorded as an input's content: another is another "
        "server. Empty for our own, in the stage's image.",
    )
    health_path: Annotated[str, OPERATIONAL] = Field(default="/health", pattern="^/")
    start_seconds: Annotated[int, OPERATIONAL] = Field(default=1800, ge=1)
    output: Annotated[str | None, OPERATIONAL] = Field(
        default=None, description="Directory with its output and a record of its ends. Absent: started by hand."
    )


class ServedTeacher(Model):
    """A model directory on the volume that a server beside each shard serves as the teacher."""

    uri: str
    device_target: DeviceTarget
    devices: int = Field(default=1, ge=1)
    server: ServerBeside


class GenerateContract(StageContract):
    """Ask the teacher for chains of thought.

    Reads the prompts, writes one generation a line under `output`. Each shard (the Pods of one Indexed Job) takes
    the prompts whose position modulo `shards` is its index; their outputs are separate artifacts
    `<output>/shard-<index>-of-<shards>`.
    """

    stage: Literal["generate"] = "generate"
    prompts: PromptSource
    teacher: TeacherParameters
    served: ServedTeacher | None = Field(
        default=None, description="What serves the teacher's only endpoint. Default: nothing that concerns the stage."
    )
    shards: Annotated[int, OPERATIONAL] = Field(default=1, ge=1)
    filter: Annotated[FilterParameters | None, OPERATIONAL] = Field(
        default=None,
        description="How the answers will be judged. A sample of them is judged as they arrive, and the stage ends "
        "early when minAcceptanceRate is out of reach. Default: nothing is judged.",
    )

    @property
    def forecast(self) -> FilterParameters | None:
        """How answers are judged as they arrive; None if there can be no too few right ones."""
        if (
            self.filter is None
            or not self.filter.min_acceptance_rate
            or self.filter.verifier in ("none", "recorded", "majority")
            or self.filter.judge is not None  # it may accept what the verifier does not
        ):
            return None
        return self.filter


class FilterContract(StageContract):
    """Verify generations against the reference answers and keep the right ones."""

    stage: Literal["filter"] = "filter"
    input: str | RowSource = Field(
        description="The generate stage's output, relative to the volume; or rows that have their generations."
    )
    shards: Annotated[int, OPERATIONAL] = Field(
        default=1, ge=1, description="Shards that generate was run with; all must be complete."
    )
    filter: FilterParameters
    purpose: Literal["training", "passRates"] = Field(
        default="training",
        description="What the verdicts are for. training: rows are kept, and without any there is no use in going on. "
        "passRates: to tell which prompts a model solves, which may be none.",
    )

    @model_validator(mode="after")
    def _check_verifier(self) -> Self:
        has_verdicts = isinstance(self.input, RowSource) and self.input.messages_column is None
        if self.filter.verifier == "recorded" and not has_verdicts:
            raise ValueError("the verifier recorded needs rows with correctnessColumn and generationsColumn")
        return self


class SelectContract(StageContract):
    """Choose among the kept rows which are trained on."""

    stage: Literal["select"] = "select"
    input: ArtifactReference = Field(description="The filter stage's artifact.")
    select: SelectParameters
    probe: ArtifactReference | None = Field(
        default=None,
        description="The artifact of a filter that has judged another model's answers to the same prompts, whose pass "
        "rates count instead. Default: those of the answers that are selected from.",
    )


class PackContract(StageContract):
    """Tokenise the kept generations and pack them into training sequences, or check and register packed ones."""

    stage: Literal["pack"] = "pack"
    input: ArtifactReference | PackedSource = Field(
        description="The artifact of filter or select, which `pack` says how to pack; or sequences that are packed."
    )
    pack: PackParameters | None = None

    @model_validator(mode="after")
    def _check_pack(self) -> Self:
        if isinstance(self.input, PackedSource) == (self.pack is not None):
            raise ValueError("pack must be set for an artifact of filter or select, and only for one")
        return self


class Rendezvous(Model):
    """Where the Pods of one training attempt meet."""

    host: str = Field(description="Name of the first Pod.")
    port: int = Field(default=RENDEZVOUS_PORT, ge=1, le=65535)


class TrainContract(StageContract):
    """Fine-tune with MindSpore and MindFormers; `python -m distill_runtime msrun` runs it.

    Writes checkpoints under `<output>.work`, logs under `<output>.logs` and, at the end, HuggingFace-named safetensors
    with config.json and the tokenizer as the artifact. With `exportBy: export` it ends with the last checkpoint, and
    `python -m distill_runtime export`, which needs no devices, makes the artifact of that by the same contract.
    """

    stage: Literal["msrun"] = "msrun"
    run: Annotated[str, OPERATIONAL] = Field(
        default="",
        max_length=100,
        pattern="^[-A-Za-z0-9]*$",
        description="What tells this run's attempts from those of an earlier object of its name: the object's uid.",
    )
    dataset: ArtifactReference
    model: ModelSource
    training: Training
    parallelism: Parallelism
    checkpoint: Checkpoint = Checkpoint()
    mindformers: MindFormersOverrides = Field(default_factory=dict)
    device_target: DeviceTarget
    nodes: int = Field(default=1, ge=1, description="Pods of the attempt.")
    devices_per_node: int = Field(default=1, ge=1, description="Worker processes, one a device, in each Pod.")
    device_memory: Annotated[int | None, OPERATIONAL] = Field(
        default=None, ge=1, description="Bytes that a device has. Absent: whether the run fits is not checked."
    )
    peak_teraflops: Annotated[float | None, OPERATIONAL] = Field(
        default=None,
        gt=0,
        description="Dense bfloat16 operations a second that a device can do, in 10^12. Absent: no MFU is given.",
    )
    rendezvous: Annotated[Rendezvous | None, OPERATIONAL] = Field(default=None, description="Absent with one node.")
    grace_seconds: Annotated[int, OPERATIONAL] = Field(
        default=30, ge=1, description="How long the stage has after SIGTERM, in which it saves a checkpoint."
    )
    export_by: Annotated[Literal["msrun", "export"], OPERATIONAL] = Field(
        default="msrun", description="The stage that exports the model: msrun when it has trained, or export after it."
    )


class WeightsTarget(Model):
    """Evaluate weights on the volume, which a server beside the stage serves."""

    weights: ArtifactReference | None = Field(default=None, description="Fine-tuned weights, checked by digest.")
    uri: str | None = Field(default=None, description="Any model directory on the volume.")
    device_target: DeviceTarget
    devices: int = Field(default=1, ge=1)
    url: Annotated[str, OPERATIONAL] = Field(pattern="^http://", description="Base URL of the server.")
    model: Annotated[str, OPERATIONAL] = Field(default=SERVED_MODEL, description="Name that they are served under.")
    server: ServerBeside = ServerBeside()


class EndpointTarget(Model):
    """Evaluate a model that is served elsewhere."""

    url: str = Field(pattern="^https?://")
    model: str
    weights: ArtifactReference | None = Field(
        default=None, description="Fine-tuned weights that it serves, by the word of whoever asks. Not opened."
    )


class EvalContract(StageContract):
    """Ask a served student the benchmark's problems, score its answers."""

    stage: Literal["eval"] = "eval"
    target: WeightsTarget | EndpointTarget
    benchmark: Benchmark
    protocol: Protocol

    @property
    def requests_at_once(self) -> int:
        """How many requests are under way at most, as far as the contract alone tells."""
        at_once, limit = self.protocol.max_concurrent_requests, self.benchmark.limit
        return min(at_once, limit * self.protocol.samples_per_problem) if limit is not None else at_once


class Baseline(Model):
    """An evaluation to compare with."""

    name: str = Field(min_length=1, max_length=64, description="What to call it.")
    artifact: ArtifactReference


class CompareContract(StageContract):
    """Hold an evaluation against others, against published scores and against its gate."""

    stage: Literal["compare"] = "compare"
    evaluation: ArtifactReference = Field(description="The eval stage's artifact.")
    baselines: tuple[Baseline, ...] = ()
    published: tuple[PublishedScore, ...] = ()
    gate: Gate | None = Field(default=None, description="noWorseThan names baselines of this contract.")

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [*(each.name for each in self.baselines), *(each.name for each in self.published)]
        if len(set(names)) < len(names):
            raise ValueError("baselines and published scores need different names")
        limits = self.gate.no_worse_than if self.gate is not None else ()
        if unknown := sorted({limit.name for limit in limits} - {each.name for each in self.baselines}):
            raise ValueError(f"noWorseThan names what is no baseline: {', '.join(unknown)}")
        return self


Contract = (
    GenerateContract | FilterContract | SelectContract | PackContract | TrainContract | EvalContract | CompareContract
)

_ADAPTER: TypeAdapter[Contract] = TypeAdapter(Annotated[Contract, Field(discriminator="stage")])


def parse_contract(text: str | bytes) -> Contract:
    """Parse a contract file.

    Raises:
        pydantic.ValidationError: naming each field that is wrong.
    """
    return _ADAPTER.validate_json(text)

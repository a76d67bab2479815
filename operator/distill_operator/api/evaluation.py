"""EvalRun: weights or an endpoint and a benchmark in, a score out."""

from typing import ClassVar

from pydantic import ConfigDict, Field

from distill_operator.api.common import (
    Accelerator,
    Column,
    Credentials,
    ObjectReference,
    Resource,
    RunSpec,
    Status,
    message_columns,
    ready_columns,
)
from distill_operator.api.rules import NO_SOURCE, Rule, exactly_one_of, immutable, is_source, with_rules
from distill_runtime.contract import Benchmark, Model, Protocol
from distill_runtime.contract.parameters import Uri


class ModelTarget(Model):
    """A model directory on the claim."""

    uri: Uri = Field(
        description="A path on the claim of a directory with config.json, the tokenizer's files and *.safetensors."
    )


class Endpoint(Model):
    """A model that is served elsewhere."""

    url: str = Field(
        pattern="^https?://",
        max_length=2048,
        description="Base URL of an OpenAI-compatible server, such as http://h/v1.",
    )
    model: str = Field(min_length=1, max_length=256, description="Model name to send.")


class Target(Model):
    """What is evaluated."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(exactly_one_of("spec.target", "finetuneRef", "model", "endpoint"))
    )

    finetune_ref: ObjectReference | None = Field(
        default=None, description="FinetuneRun whose weights to evaluate; the run waits until it is Ready."
    )
    model: ModelTarget | None = Field(default=None, description="Weights on the claim.")
    endpoint: Endpoint | None = Field(default=None, description="A model that is served elsewhere.")


class EvalProtocol(Protocol):
    """Protocol, with the rule that the schema alone cannot say."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            Rule(
                "self.samplesPerProblem == 1 || self.temperature > 0.0",
                "several samples at temperature 0 are all the same: raise temperature or set samplesPerProblem to 1",
                field="samplesPerProblem",
            )
        )
    )


class EvalRunSpec(RunSpec):
    """What to evaluate. All but suspend, priorityClassName and retry is fixed at creation."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            *immutable("EvalRun", "target", "benchmark", "protocol", "accelerator", "credentialsSecretRef", "storage"),
            Rule(
                "has(self.target.endpoint) != has(self.accelerator)",
                "spec.accelerator serves the weights of target.finetuneRef or target.model: "
                "set it for these, and leave it out for target.endpoint",
            ),
            Rule(
                "!has(self.accelerator) || self.accelerator.nodes == 1",
                "an EvalRun serves the weights in one Pod: set accelerator.nodes to 1",
                field="accelerator",
            ),
            Rule(is_source("self.benchmark.uri"), f"benchmark.{NO_SOURCE}", field="benchmark"),
        )
    )

    target: Target = Field(description="What is evaluated.")
    benchmark: Benchmark = Field(description="The problems it is asked.")
    protocol: EvalProtocol = Field(
        default=EvalProtocol(), description="How it is asked and scored; recorded beside the score."
    )
    accelerator: Accelerator | None = Field(
        default=None, description="Devices that serve the weights; not with target.endpoint."
    )
    credentials_secret_ref: Credentials = None


class EvalRunStatus(Status):
    """How it is going, and the score."""

    score: float | None = Field(default=None, description="pass@1 in percent.")
    score_low: float | None = Field(default=None, description="Lower end of the score's 95 % interval.")
    score_high: float | None = Field(default=None, description="Upper end of the score's 95 % interval.")
    interval: str | None = Field(default=None, description="The 95 % interval as text.")
    stderr: float | None = Field(
        default=None, description="Standard error over problems, in points: would the score hold on others of the kind?"
    )
    run_stderr: float | None = Field(
        default=None,
        description="Standard error over runs on these problems, in points: sampling noise only. Absent with one "
        "sample a problem.",
    )
    smallest_difference: float | None = Field(
        default=None,
        description="Difference to another model in points that so many problems show with a power of 80 %, if the two "
        "models' results correlate by a half.",
    )
    pass_at: dict[str, float] = Field(
        default_factory=dict, description="Unbiased pass@k in percent, by k; with several samples a problem."
    )
    maj_at: dict[str, float] = Field(
        default_factory=dict,
        description="maj@k in percent, by k: that the most frequent of k answers is right; with several samples.",
    )
    problems: int | None = Field(default=None, description="Problems asked.")
    samples: int | None = Field(default=None, description="Answers scored: problems x samplesPerProblem.")
    truncated_rate: float | None = Field(default=None, description="Percent of the answers cut off by maxTokens.")
    unanswered_rate: float | None = Field(
        default=None, description="Percent of the samples that the endpoint never answered; they count as wrong."
    )


class EvalRun(Resource[EvalRunSpec, EvalRunStatus]):
    """A benchmark asked of a model, under a stated protocol."""

    plural: ClassVar[str] = "evalruns"
    short_names: ClassVar[tuple[str, ...]] = ("evr",)
    summary: ClassVar[str] = (
        "An EvalRun asks a model the problems of a benchmark and reports its score with a confidence interval."
    )
    columns: ClassVar[tuple[Column, ...]] = (
        *ready_columns(),
        Column(name="Benchmark", json_path=".spec.benchmark.name", description="What it is scored on."),
        Column(name="Score", json_path=".status.score", type="number", description="pass@1 in percent."),
        Column(name="95% interval", json_path=".status.interval", description="Confidence interval of the score."),
        Column(name="Samples", json_path=".status.samples", type="integer", description="Answers scored."),
        *message_columns(),
    )

    status: EvalRunStatus = Field(default_factory=EvalRunStatus)

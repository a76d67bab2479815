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
    SecretKeyReference,
    Serve,
    Status,
    message_columns,
    ready_columns,
)
from distill_operator.api.given import not_filled_in
from distill_operator.api.judge import JudgeSpec, JudgeStatus
from distill_operator.api.pod_template import resources_of
from distill_operator.api.problems import PROBLEM_RULES
from distill_operator.api.rules import NO_SOURCE, Rule, exactly_one_of, immutable, is_source, with_rules
from distill_operator.api.verification import VERIFICATION_RULES
from distill_runtime.contract import Benchmark, Model, Protocol, parameters
from distill_runtime.contract.benchmarks import known_benchmarks
from distill_runtime.contract.comparison import Comparison, GateVerdict
from distill_runtime.contract.parameters import (
    COMPARING_VERIFIERS,
    ChoiceOrder,
    ComparingVerifier,
    Uri,
)
from distill_runtime.contract.parameters.teacher import Endpoint as EndpointUrl


class ModelTarget(Model):
    """A model directory on the claim."""

    uri: Uri = Field(
        description="A path on the claim of a directory with config.json, the tokenizer's files and *.safetensors."
    )


class WaitFor(Model):
    """The object that an endpoint belongs to."""

    finetune_ref: ObjectReference = Field(
        description="FinetuneRun whose weights the endpoint serves. The run waits until it is Ready, and the score is "
        "recorded as that of these weights."
    )


class Endpoint(Model):
    """A model that is served elsewhere."""

    url: EndpointUrl = Field(description="Base URL of an OpenAI-compatible server, such as http://h/v1.")
    model: str = Field(min_length=1, max_length=256, description="Model name to send.")
    api_key_secret_ref: SecretKeyReference | None = Field(
        default=None, description="Secret that holds the bearer token of the endpoint."
    )
    wait_for: WaitFor | None = Field(
        default=None, description="What must be Ready before the endpoint is asked; nothing unless given."
    )


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


class EvalBenchmark(Benchmark):
    """Benchmark, by what its name stands for or by a uri."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            *PROBLEM_RULES,
            Rule(
                f"has(self.uri) || self.name in {list(known_benchmarks())}",
                f"benchmark: set uri, or as name one of those that are known: {', '.join(known_benchmarks())}",
                field="uri",
            ),
            Rule(
                "has(self.uri) || !(has(self.subset) || has(self.split))",
                "subset and split are of the data set at uri: set it, or leave them out for a benchmark that is known",
                field="uri",
            ),
            Rule(f"!has(self.uri) || {is_source('self.uri')}", f"benchmark.{NO_SOURCE}", field="uri"),
        )
    )

    name: str = Field(
        min_length=1,
        max_length=253,
        description="Name to report the score under. Without uri it says which benchmark it is, one of "
        f"{', '.join(known_benchmarks())}: what the other fields leave open is as docs/evalrun.md has it.",
    )
    uri: Uri = Field(
        default="",
        json_schema_extra=not_filled_in,
        description="Where the problems are; as in DistillDataset's spec.source.prompts.uri. With it, the name is no "
        "more than a name.",
    )
    prompt_column: parameters.Column = Field(
        default="problem",
        json_schema_extra=not_filled_in,
        description="Column that holds the problem. Default: problem, or that of the known benchmark.",
    )
    answer_column: parameters.Column = Field(
        default="answer",
        json_schema_extra=not_filled_in,
        description="Column that holds the reference answer. Default: answer, or that of the known benchmark.",
    )
    choice_order: ChoiceOrder = Field(
        default="given",
        json_schema_extra=not_filled_in,
        description="given: as the columns have them; shuffled: in an order that follows from the problem and the "
        "choices, for tables whose right choice is always at the same place. Default: given, or that of the known "
        "benchmark.",
    )


class EvalProtocol(Protocol):
    """Protocol, with the rules that the schema alone cannot say."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            *VERIFICATION_RULES,
            Rule(
                "!has(self.samplesPerProblem) || self.samplesPerProblem == 1 || self.temperature > 0.0",
                "several samples at temperature 0 are all the same: raise temperature or set samplesPerProblem to 1",
                field="samplesPerProblem",
            ),
        )
    )

    samples_per_problem: int = Field(
        default=1,
        ge=1,
        le=256,
        json_schema_extra=not_filled_in,
        description="Answers asked for each problem; the score is pass@1, their mean. Default: 1, or that of a known "
        "benchmark where temperature is not 0.",
    )
    verifier: ComparingVerifier = Field(
        default="math-verify",
        json_schema_extra=not_filled_in,
        description=f"How an answer is compared with the reference answer. {COMPARING_VERIFIERS}. Default: "
        "math-verify, or that of a known benchmark.",
    )
    judge: JudgeSpec | None = Field(default=None, description=Protocol.model_fields["judge"].description)


class Baseline(Model):
    """What a score is held against: another EvalRun, or a score that somebody has published."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            Rule(
                "has(self.evalRef) ? !has(self.name) && !has(self.score) && !has(self.problems) "
                ": has(self.name) && has(self.score) && has(self.problems)",
                "a baseline: set either evalRef, or all of name, score and problems",
            )
        )
    )

    eval_ref: ObjectReference | None = Field(
        default=None, description="EvalRun on the same claim; the comparison waits until it is Ready."
    )
    name: str | None = Field(default=None, min_length=1, max_length=40, description="What to call a published score.")
    score: float | None = Field(default=None, ge=0, le=100, description="The published pass@1 in percent.")
    # Not n, which YAML 1.1, as kubectl reads it, takes for false.
    problems: int | None = Field(default=None, ge=1, le=10_000_000, description="Problems that it rests on.")


class NoWorseThan(Model):
    """An evaluation that the score must not fall behind."""

    eval_ref: ObjectReference = Field(description="EvalRun on the same claim; it is compared with as well.")
    margin: float = Field(
        ge=0,
        le=100,
        description="Points by which it may fall behind: the difference's 95 % interval must lie above minus this.",
    )


class Gate(Model):
    """What the evaluation must hold to be Ready."""

    min_score: float | None = Field(default=None, ge=0, le=100, description="Lowest score in percent.")
    no_worse_than: tuple[NoWorseThan, ...] = Field(
        default=(), max_length=3, description="Evaluations that it must be shown not to be worse than."
    )
    max_truncated_rate: float | None = Field(
        default=None, ge=0, le=100, description="Highest percentage of answers that were cut off."
    )


_NAME = "(has({0}.evalRef) ? {0}.evalRef.name : has({0}.name) ? {0}.name : '')"


class EvalRunSpec(RunSpec):
    """What to evaluate. All but suspend, priorityClassName, podTemplate and retry is fixed at creation."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            *immutable(
                "EvalRun",
                "target",
                "serve",
                "benchmark",
                "protocol",
                "compareWith",
                "gate",
                "accelerator",
                "credentialsSecretRef",
                "storage",
            ),
            resources_of("eval-preflight", "eval", "compare", "server"),
            Rule(
                f"self.compareWith.all(one, self.compareWith.exists_one(other, {_NAME.format('one')} == "
                f"{_NAME.format('other')}))",
                "two baselines of compareWith have the same name",
                field="compareWith",
            ),
            Rule(
                "!has(self.gate) || self.gate.noWorseThan.all(limit, "
                "!self.compareWith.exists(other, has(other.name) && other.name == limit.evalRef.name))",
                "a published score of compareWith has the name of an EvalRun in gate.noWorseThan",
                field="gate",
            ),
            Rule(
                "has(self.target.endpoint) != has(self.accelerator)",
                "spec.accelerator serves the weights of target.finetuneRef or target.model: "
                "set it for these, and leave it out for target.endpoint",
            ),
            Rule(
                "!has(self.serve) || !has(self.target.endpoint)",
                "spec.serve serves the weights of target.finetuneRef or target.model: leave it out for target.endpoint",
                field="serve",
            ),
            Rule(
                "!has(self.accelerator) || self.accelerator.nodes == 1",
                "an EvalRun serves the weights in one Pod: set accelerator.nodes to 1",
                field="accelerator",
            ),
        )
    )

    target: Target = Field(description="What is evaluated.")
    serve: Serve | None = Field(
        default=None,
        description="Server of the weights, on the devices of accelerator; that of the accelerator's profile unless "
        "given. Not with target.endpoint.",
    )
    benchmark: EvalBenchmark = Field(description="The problems it is asked.")
    protocol: EvalProtocol = Field(
        default=EvalProtocol(), description="How it is asked and scored; recorded beside the score."
    )
    compare_with: tuple[Baseline, ...] = Field(
        default=(), max_length=5, description="What to compare the score with, once it is there."
    )
    gate: Gate | None = Field(
        default=None, description="What the score must hold to be Ready; otherwise it is kept, and the run Stalled."
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
    judge: JudgeStatus | None = Field(default=None, description="What protocol.judge has said; absent without one.")
    overlap_rate: float | None = Field(
        default=None,
        description="Percent of the problems that share 8 words in a row with a prompt of the training data; absent "
        "where that is not known.",
    )
    clean_score: float | None = Field(default=None, description="Score in percent without these problems.")
    clean_interval: str | None = Field(default=None, description="95 % interval of cleanScore as text.")
    comparison: tuple[Comparison, ...] = Field(default=(), description="The score beside each baseline.")
    difference: str | None = Field(
        default=None, description="The difference to the first baseline, in points, with its 95 % interval, as text."
    )
    gate: GateVerdict | None = Field(default=None, description="Whether the gate holds; absent without one.")


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
        Column(name="Difference", json_path=".status.difference", description="To the first baseline, in points."),
        Column(name="Samples", json_path=".status.samples", type="integer", description="Answers scored."),
        *message_columns(),
    )

    status: EvalRunStatus = Field(default_factory=EvalRunStatus)

"""DistillDataset: prompts, or what was made of them already, in; verified and packed training data out."""

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from distill_operator.api.common import (
    Accelerator,
    Column,
    Credentials,
    Resource,
    RunSpec,
    SecretKeyReference,
    Serve,
    Status,
    message_columns,
    ready_columns,
)
from distill_operator.api.judge import JudgeSpec, JudgeStatus
from distill_operator.api.pod_template import resources_of
from distill_operator.api.probe import Probe, ProbeStatus
from distill_operator.api.problems import PROBLEM_RULES
from distill_operator.api.rules import NO_SOURCE, Rule, exactly_one_of, immutable, is_source, with_rules
from distill_operator.api.verification import VERIFICATION_RULES
from distill_runtime.contract import (
    FilterParameters,
    Model,
    PackedSource,
    PackParameters,
    PromptSource,
    RowSource,
    SelectParameters,
    TeacherModel,
    TeacherParameters,
)
from distill_runtime.contract.identity import OPERATIONAL
from distill_runtime.contract.parameters import Uri
from distill_runtime.contract.parameters.teacher import Endpoint


class Prompts(PromptSource):
    """Prompts, with the rules that the schema alone cannot say."""

    model_config = ConfigDict(json_schema_extra=with_rules(*PROBLEM_RULES))


class Rows(RowSource):
    """Rows, with the rule that the schema alone cannot say."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            Rule(
                "!has(self.messagesColumn) || !(has(self.completeColumn) || has(self.finishReasonsColumn))",
                "completeColumn and finishReasonsColumn speak of the list in generationsColumn: leave them out with "
                "messagesColumn",
                field="messagesColumn",
            )
        )
    )


_SOURCES = ("prompts", "rows", "packed")


class Source(Model):
    """What the data set is made from."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            exactly_one_of("spec.source", *_SOURCES),
            *(
                Rule(f"!has(self.{name}) || {is_source(f'self.{name}.uri')}", f"{name}.{NO_SOURCE}", field=name)
                for name in _SOURCES
            ),
        )
    )

    prompts: Prompts | None = Field(
        default=None, description="Problems with reference answers, for the teacher to answer."
    )
    rows: Rows | None = Field(
        default=None,
        description="Problems that have been answered already, such as OpenR1-Math-220k: they go to the filter, "
        "without a teacher.",
    )
    packed: PackedSource | None = Field(
        default=None, description="Packed sequences, which are only checked and registered."
    )


class TeacherServe(Serve):
    """A model on the claim that is the teacher: a server in each shard's Pod serves it, for as long as it is asked."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            Rule(
                "self.accelerator.nodes == 1",
                "a server serves the teacher in each shard's Pod: set accelerator.nodes to 1",
                field="accelerator",
            )
        )
    )

    uri: Uri = Field(
        description="A path on the claim of a directory with config.json, the tokenizer's files and *.safetensors."
    )
    accelerator: Accelerator = Field(description="Devices of each shard's server.")


class AdditionalModel(TeacherModel):
    """One of several teachers, with what only the operator needs to know."""

    api_key_secret_ref: SecretKeyReference | None = Field(
        default=None,
        description="Secret that holds the bearer token of its endpoints. Default: none is sent, nor that of others.",
    )


class Teacher(TeacherParameters):
    """The teacher, with what only the operator needs to know."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            Rule(
                "(size(self.endpoints) > 0) != has(self.serve)",
                "set either teacher.endpoints, of servers that are there, or teacher.serve, for one beside each shard",
                field="endpoints",
            ),
            Rule(
                "self.sampling.generationsPerPrompt == 1 || self.sampling.temperature > 0.0",
                "several generations at temperature 0 are all the same: raise sampling.temperature "
                "or set sampling.generationsPerPrompt to 1",
            ),
            Rule(
                "!has(self.sampling.retryTruncatedMaxTokens)"
                " || self.sampling.retryTruncatedMaxTokens > self.sampling.maxTokens",
                "sampling.retryTruncatedMaxTokens must be larger than sampling.maxTokens: raise it, or leave it out "
                "to keep answers that were cut off as they are",
                field="sampling",
            ),
            Rule(
                "self.additionalModels.all(each, each.model != self.model"
                " && self.additionalModels.exists_one(other, other.model == each.model))",
                "additionalModels must have names of their own, by which they are told apart",
                field="additionalModels",
            ),
        )
    )

    endpoints: Annotated[tuple[Endpoint, ...], OPERATIONAL] = Field(
        default=(),
        max_length=64,
        description="Base URLs of OpenAI-compatible servers, such as http://deepseek-r1.teachers:1025/v1. "
        "Requests go to <endpoint>/chat/completions, to the least busy endpoint first. None with serve.",
    )
    serve: TeacherServe | None = Field(
        default=None, description="Serve a model on the claim beside each shard, instead of asking endpoints."
    )
    additional_models: tuple[AdditionalModel, ...] = Field(
        default=(), max_length=7, description=TeacherParameters.model_fields["additional_models"].description
    )
    api_key_secret_ref: SecretKeyReference | None = Field(
        default=None, description="Secret that holds the bearer token of the endpoints."
    )
    shards: int = Field(
        default=1, ge=1, le=1000, description="Pods that ask at the same time, each with its share of the prompts."
    )


class Filter(FilterParameters):
    """Filtering, with the rules that the schema alone cannot say."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            *VERIFICATION_RULES,
            Rule(
                "!has(self.decontamination)"
                f" || self.decontamination.benchmarks.all(benchmark, {is_source('benchmark.uri')})",
                f"decontamination.benchmarks: {NO_SOURCE}",
                field="decontamination",
            ),
            Rule(
                "!has(self.judge) || self.verifier != 'none'",
                "judge is asked about what the verifier does not accept, and the verifier none accepts everything: "
                "leave judge out, or choose another verifier",
                field="judge",
            ),
        )
    )

    judge: JudgeSpec | None = Field(default=None, description=FilterParameters.model_fields["judge"].description)


class Select(SelectParameters):
    """Selection, with the rules that the schema alone cannot say."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            Rule(
                "self.minPassRate <= self.maxPassRate",
                "minPassRate must not exceed maxPassRate: no prompt would be left",
                field="minPassRate",
            ),
            Rule(
                "!has(self.length) || !has(self.length.max) || self.length.min <= self.length.max",
                "length.min must not exceed length.max: no answer would be left",
                field="length",
            ),
            Rule(
                "!has(self.probe) || self.minPassRate > 0.0 || self.maxPassRate < 1.0",
                "probe gives prompts the pass rate that minPassRate and maxPassRate choose by: set one of them",
                field="probe",
            ),
        )
    )

    probe: Probe | None = Field(
        default=None,
        description="Have another model, such as the student, answer the prompts too: minPassRate and maxPassRate go "
        "by its pass rate then. Default: by that of the answers that are selected from. Only with source.prompts.",
    )


class Pack(PackParameters):
    """Packing, with the rule that the schema alone cannot say."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            Rule(
                "!has(self.maxSampleTokens) || self.maxSampleTokens <= self.sequenceLength",
                "maxSampleTokens must not exceed sequenceLength: a sample must fit into one packed sequence",
                field="maxSampleTokens",
            )
        )
    )


class DistillDatasetSpec(RunSpec):
    """What to make. All but suspend, priorityClassName, podTemplate and retry is fixed at creation."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            *immutable("DistillDataset", "source", "teacher", "filter", "select", "pack"),
            *immutable("DistillDataset", "credentialsSecretRef", "storage"),
            resources_of("generate", "filter", "select", "pack", "server"),
            Rule(
                "!has(self.teacher) || self.teacher.shards * (1 + size(self.teacher.additionalModels))"
                " <= self.teacher.maxConcurrentRequests",
                "teacher.shards must not exceed teacher.maxConcurrentRequests, nor may shards times models: each shard "
                "needs at least one request for each model",
                field="teacher",
            ),
            Rule(
                "has(self.source.prompts) == has(self.teacher)",
                "teacher answers source.prompts: set it with these, and leave it out with source.rows and "
                "source.packed, which have been answered",
                field="teacher",
            ),
            Rule(
                "!has(self.source.packed) || !has(self.filter)",
                "filter judges generations, and source.packed has none any more: leave it out, or give the rows that "
                "were packed as source.rows",
                field="filter",
            ),
            Rule(
                "!has(self.source.packed) || !has(self.select)",
                "select chooses among the answers that the filter accepts, and source.packed has none any more: leave "
                "it out",
                field="select",
            ),
            Rule(
                "!has(self.select) || !has(self.filter)"
                " || (self.filter.keep == 'all' && !has(self.filter.maxPerPrompt))",
                "with select it is that which chooses among a prompt's right answers, after its other bounds: set keep "
                "and maxPerPrompt there, and leave them out of filter",
                field="filter",
            ),
            Rule(
                "!has(self.select) || !has(self.select.length) || self.select.length.unit != 'tokens'"
                " || has(self.source.prompts)",
                "nobody has counted the tokens of source.rows: give select.length the unit characters",
                field="select",
            ),
            Rule(
                "!has(self.select) || !has(self.select.balance) || has(self.source.prompts)"
                " || self.select.balance.column != 'teacher'",
                "source.rows do not say which teacher answered: balance another column",
                field="select",
            ),
            Rule(
                "!has(self.select) || !has(self.select.balance) || !has(self.source.prompts)"
                " || self.select.balance.column != 'source' || has(self.source.prompts.sourceColumn)",
                "select.balance counts rows by where their prompts come from: name the column that says it in "
                "source.prompts.sourceColumn",
                field="select",
            ),
            Rule(
                "!has(self.select) || !has(self.select.probe) || has(self.source.prompts)",
                "select.probe has source.prompts answered once more: leave it out with source.rows",
                field="select",
            ),
            Rule(
                "!has(self.select) || !has(self.select.probe) || !has(self.filter)"
                " || !(self.filter.verifier in ['majority', 'none'])",
                "the pass rate of select.probe is told by the reference answers: choose a filter.verifier that "
                "compares with them",
                field="select",
            ),
            Rule(
                "has(self.source.packed) != has(self.pack)",
                "pack makes sequences of source.prompts and source.rows: set it with these, and leave it out with "
                "source.packed, whose sequences are made",
                field="pack",
            ),
            Rule(
                "!has(self.filter) || self.filter.verifier != 'recorded'"
                " || (has(self.source.rows) && !has(self.source.rows.messagesColumn))",
                "the verifier recorded trusts source.rows' correctnessColumn, which speaks of the list in "
                "generationsColumn: choose another verifier for source.prompts and for messagesColumn",
                field="filter",
            ),
            Rule(
                " && ".join(
                    f"(!has(self.source.{name}) || self.source.{name}.referenceAnswers == 'required'"
                    " || (has(self.filter) && self.filter.verifier in ['majority', 'none']))"
                    for name in ("prompts", "rows")
                ),
                "without reference answers (referenceAnswers none) filter.verifier must be majority or none, which "
                "compare with none",
                field="filter",
            ),
            Rule(
                "!has(self.filter) || self.filter.verifier != 'majority' || !has(self.teacher)"
                " || self.teacher.sampling.generationsPerPrompt > 1",
                "the verifier majority counts the answers of a prompt: set teacher.sampling.generationsPerPrompt to 2 "
                "or more",
                field="filter",
            ),
        )
    )

    source: Source = Field(description="What the data set is made from.")
    teacher: Teacher | None = Field(
        default=None, description="Who answers the prompts; required with source.prompts, forbidden otherwise."
    )
    filter: Filter | None = Field(
        default=None,
        description="Rejection sampling: which generations are kept. Default: that of each of its fields; forbidden "
        "with source.packed.",
    )
    select: Select | None = Field(
        default=None,
        description="Which of the answers that the filter accepts are trained on. Default: those that filter keeps; "
        "forbidden with source.packed.",
    )
    pack: Pack | None = Field(
        default=None, description="Tokenisation and sequence packing; required, but forbidden with source.packed."
    )
    credentials_secret_ref: Credentials = None


class TeacherStatus(Model):
    """What has come of one of several teachers."""

    model: str = Field(description="Its name.")
    generations: int | None = Field(default=None, description="Generations settled: answered, or failed for good.")
    acceptance_rate: float | None = Field(default=None, description="Share of them with the right answer.")
    teacher_tokens: int | None = Field(default=None, description="Tokens of its answers.")
    mean_tokens: float | None = Field(default=None, description="Tokens of an answer, on average.")
    cost: str | None = Field(default=None, description="What its tokens have cost so far, by its price.")


class DistillDatasetStatus(Status):
    """How it is going, and what came out."""

    prompts: int | None = Field(default=None, description="Prompts read; with source.rows: rows.")
    prompts_done: int | None = Field(
        default=None,
        description="Prompts whose generations are settled, to within those under way; with source.rows: rows "
        "verified.",
    )
    generations: int | None = Field(
        default=None,
        description="Generations settled: answered, or failed for good. In the end prompts x "
        "generationsPerPrompt, unless a budget ended the asking. With source.rows: those in the rows, and one for each "
        "row that has none.",
    )
    teacher_tokens: int | None = Field(default=None, description="Tokens of the teacher's answers.")
    tokens_per_second: float | None = Field(
        default=None, description="Tokens of answers a second, while the teacher is asked."
    )
    cost: str | None = Field(
        default=None,
        description="What the teacher's tokens have cost so far, by teacher.price, such as 12.34 USD. Absent when some "
        "answers came without usage, which stages[].counts has as uncountedAnswers.",
    )
    teachers: tuple[TeacherStatus, ...] = Field(
        default=(), description="The same by teacher, where there are several, in the order of the spec."
    )
    kept: int | None = Field(
        default=None, description="Generations that passed the filter, and select where it is there and done."
    )
    rejected: dict[str, int] = Field(default_factory=dict, description="Generations rejected, by reason.")
    acceptance_rate: float | None = Field(default=None, description="Share of the generations with the right answer.")
    judge: JudgeStatus | None = Field(default=None, description="What filter.judge has said; absent without one.")
    probe: ProbeStatus | None = Field(default=None, description="What has come of select.probe; absent without one.")
    rows: int | None = Field(default=None, description="Packed sequences.")
    tokens: int | None = Field(default=None, description="Tokens in the packed sequences, without padding.")


class DistillDataset(Resource[DistillDatasetSpec, DistillDatasetStatus]):
    """Prompts, a teacher and a verifier: the recipe of a training data set."""

    plural: ClassVar[str] = "distilldatasets"
    short_names: ClassVar[tuple[str, ...]] = ("dds",)
    summary: ClassVar[str] = (
        "A DistillDataset asks a teacher for chains of thought, keeps those whose final answer is right, "
        "and packs them into training data."
    )
    columns: ClassVar[tuple[Column, ...]] = (
        *ready_columns(),
        Column(name="Kept", json_path=".status.kept", type="integer", description="Generations kept."),
        Column(
            name="Acceptance",
            json_path=".status.acceptanceRate",
            type="number",
            description="Share of the generations with the right answer.",
        ),
        Column(name="Tokens", json_path=".status.tokens", type="integer", description="Tokens to train on."),
        Column(
            name="Tokens/s",
            json_path=".status.tokensPerSecond",
            type="number",
            description="Tokens of the teacher's answers a second.",
            priority=1,
        ),
        Column(name="Cost", json_path=".status.cost", description="What the teacher has cost so far.", priority=1),
        *message_columns(),
    )

    status: DistillDatasetStatus = Field(default_factory=DistillDatasetStatus)

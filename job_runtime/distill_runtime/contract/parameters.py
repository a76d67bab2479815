"""Parameter blocks: each appears in a custom resource and in a stage's contract, and is defined here once."""

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from distill_runtime.contract.base import Parameters
from distill_runtime.contract.identity import OPERATIONAL

Uri = Annotated[str, Field(min_length=1, max_length=1024)]
Endpoint = Annotated[str, Field(pattern="^https?://", max_length=2048)]
Column = Annotated[str, Field(min_length=1, max_length=256)]
Subset = Annotated[
    str | None,
    Field(
        max_length=256,
        description="Subset (configuration) of a Hugging Face data set. Default: the only one, or the default one.",
    ),
]
Split = Annotated[
    str | None,
    Field(
        max_length=256,
        description="Split of a Hugging Face data set or of a directory that was saved with several. "
        "Default: train, or the only one.",
    ),
]
Fraction = Annotated[float, Field(ge=0, le=1)]

BOXED_SYSTEM_PROMPT = "Please reason step by step, and put your final answer within \\boxed{}."
PROMPT_PLACEHOLDER = "{prompt}"


class PromptSource(Parameters):
    """A table of problems with reference answers."""

    uri: Uri = Field(
        description="Where the rows are: a path on the claim (a file or a directory of jsonl, parquet or arrow files, "
        "compressed or not, or one that datasets.save_to_disk wrote), hf://owner/name or hf://owner/name@revision, or "
        "another URL such as http://host/prompts.jsonl or s3://bucket/prompts."
    )
    subset: Subset = None
    split: Split = None
    prompt_column: Column = Field(default="problem", description="Column that holds the problem.")
    answer_column: Column = Field(
        default="answer",
        description="Column that holds the reference answer that generations are verified against.",
    )
    uuid_column: Column | None = Field(
        default=None,
        description="Column that identifies a prompt; rows that repeat a value are counted and asked once. "
        "Default: the prompt's own text.",
    )
    source_column: Column | None = Field(
        default=None,
        description="Column that says where a prompt comes from, such as the contest. It stays with every row, and the "
        "report shows the acceptance rate of each source.",
    )
    limit: int | None = Field(default=None, ge=1, description="Use only the first so many rows.")


class RowSource(Parameters):
    """A table of problems that have been answered already, in the shape of OpenR1-Math-220k."""

    uri: Uri = Field(description="Where the rows are; as in DistillDataset's spec.source.prompts.uri.")
    subset: Subset = None
    split: Split = None
    prompt_column: Column = Field(default="problem", description="Column that holds the problem.")
    answer_column: Column = Field(default="answer", description="Column that holds the reference answer.")
    uuid_column: Column | None = Field(
        default=None,
        description="Column that identifies a prompt. Default: uuid, where the rows have it, or else the prompt's own "
        "text.",
    )
    source_column: Column | None = Field(
        default=None,
        description="Column that says where a problem comes from; as in DistillDataset's "
        "spec.source.prompts.sourceColumn. Default: source, where the rows have it.",
    )
    generations_column: Column = Field(
        default="generations", description="Column that holds a list of generations, reasoning included."
    )
    messages_column: Column | None = Field(
        default=None,
        description="Column that holds a conversation (role and content of each message), whose answer is taken as the "
        "only generation instead of generationsColumn.",
    )
    complete_column: Column | None = Field(
        default=None,
        description="Column that holds a list of booleans: whether each generation's reasoning came to its end; if "
        "not, it is truncated. Default: is_reasoning_complete, where the rows have it.",
    )
    finish_reasons_column: Column | None = Field(
        default=None,
        description="Column that holds a list of finish reasons; a generation with length is truncated. "
        "Default: finish_reasons, where the rows have it.",
    )
    correctness_column: Column = Field(
        default="correctness_math_verify",
        description="Column that holds a list of booleans: whether each generation is right. Read only for the "
        "verifier recorded.",
    )
    limit: int | None = Field(default=None, ge=1, description="Use only the first so many rows.")


class Sampling(Parameters):
    """How the teacher samples."""

    generations_per_prompt: int = Field(default=1, ge=1, le=256, description="Answers asked for each prompt.")
    max_tokens: int = Field(
        default=16384, ge=1, le=1_048_576, description="Longest answer in tokens; longer ones are truncated."
    )
    temperature: float = Field(default=0.6, ge=0, le=2, description="Sampling temperature.")
    top_p: float = Field(default=0.95, gt=0, le=1, description="Nucleus sampling: total probability kept.")
    seed: int | None = Field(
        default=None,
        ge=0,
        le=2_147_483_647,
        description="Seed sent with each request, plus the generation's index.",
    )
    retry_truncated_max_tokens: int | None = Field(
        default=None,
        ge=1,
        le=1_048_576,
        description="Ask once more, with so many tokens, for an answer that maxTokens cut off; must be larger. "
        "Default: it stays as it is, and filter.onTruncated decides.",
    )

    @model_validator(mode="after")
    def _check_retry(self) -> Self:
        if self.retry_truncated_max_tokens is not None and self.retry_truncated_max_tokens <= self.max_tokens:
            raise ValueError("retryTruncatedMaxTokens must be larger than maxTokens")
        return self


class Price(Parameters):
    """What the teacher's tokens cost."""

    prompt_tokens_per_million: float = Field(ge=0, description="Price of a million prompt tokens.")
    completion_tokens_per_million: float = Field(
        ge=0, description="Price of a million completion tokens, reasoning included."
    )
    currency: str = Field(default="USD", pattern="^[A-Z]{3}$", description="Its ISO 4217 code.")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> str:
        """Say what so many tokens cost, such as `12.34 USD`; exact up to the rounding to hundredths."""
        millions = prompt_tokens * Decimal(str(self.prompt_tokens_per_million)) + completion_tokens * Decimal(
            str(self.completion_tokens_per_million)
        )
        return f"{(millions / 1_000_000).quantize(Decimal('0.01'))} {self.currency}"


class TeacherParameters(Parameters):
    """The teacher: OpenAI-compatible endpoints that answer the prompts."""

    endpoints: Annotated[tuple[Endpoint, ...], OPERATIONAL] = Field(
        min_length=1,
        max_length=64,
        description="Base URLs of OpenAI-compatible servers, such as http://deepseek-r1.teachers:1025/v1. "
        "Requests go to <endpoint>/chat/completions, to the least busy endpoint first.",
    )
    model: str = Field(min_length=1, max_length=256, description="Model name to send; it must be one the server knows.")
    system_prompt: str = Field(
        default="", max_length=65536, description="System message sent before each prompt; empty for none."
    )
    prompt_template: str = Field(
        default=PROMPT_PLACEHOLDER,
        max_length=65536,
        pattern=r"\{prompt\}",
        description="User message; {prompt} stands for the problem.",
    )
    sampling: Sampling = Field(default=Sampling(), description="How the teacher samples.")
    max_concurrent_requests: Annotated[int, OPERATIONAL] = Field(
        default=100, ge=1, le=10_000, description="Most requests under way at once, over all shards together."
    )
    request_timeout_seconds: Annotated[int, OPERATIONAL] = Field(
        default=3600, ge=1, le=86_400, description="Longest a single request may take."
    )
    stall_timeout_seconds: Annotated[int | None, OPERATIONAL] = Field(
        default=None,
        ge=1,
        le=86_400,
        description="Stream the answers, and ask again when nothing has come for so long, the first token included. "
        "Default: answers come whole, and only requestTimeoutSeconds limits them.",
    )
    max_attempts: Annotated[int, OPERATIONAL] = Field(
        default=10,
        ge=1,
        le=1000,
        description="Requests that may fail (5xx, time-out, broken connection) before a generation is recorded as "
        "failed. Only those count that fail while the teacher answers others: during an outage requests wait.",
    )
    unavailable_timeout_seconds: Annotated[int, OPERATIONAL] = Field(
        default=600,
        ge=1,
        le=86_400,
        description="Give up, keeping all answers, when no endpoint has answered anything for so long; "
        "the stage is then started again.",
    )
    token_budget: int | None = Field(
        default=None,
        ge=1,
        description="Ask nothing more once the answers have so many tokens, over all shards together; what is under "
        "way is finished, and what is left is counted as notAsked.",
    )
    request_budget: int | None = Field(
        default=None,
        ge=1,
        description="Ask nothing more after so many requests, retries included, over all shards together; otherwise "
        "as tokenBudget.",
    )
    price: Annotated[Price | None, OPERATIONAL] = Field(
        default=None, description="Price of its tokens, from which status.cost follows. Default: no cost is shown."
    )


class ProblemSet(Parameters):
    """Problems that training data must not contain."""

    uri: Uri = Field(description="Where the problems are; as in DistillDataset's spec.source.prompts.uri.")
    subset: Subset = None
    split: Split = None
    prompt_column: Column = Field(default="problem", description="Column that holds the problem.")


class Decontamination(Parameters):
    """Leaving out of the training data what an evaluation will ask."""

    benchmarks: tuple[ProblemSet, ...] = Field(
        min_length=1, max_length=64, description="The problems that the student will be evaluated on."
    )
    ngram: int = Field(
        default=8,
        ge=3,
        le=64,
        description="Words in a row that a prompt must share with a benchmark's problem to count as taken from it.",
    )


class FilterParameters(Parameters):
    """Rejection sampling: which generations are kept."""

    verifier: Literal["math-verify", "exact", "regex", "python", "recorded", "none"] = Field(
        default="math-verify",
        description="How a generation's final answer is compared with the reference answer. math-verify: the last "
        "\\boxed{}, symbolically; exact: the last \\boxed{}, or else all that follows the reasoning, letter by letter; "
        "regex: what answerPattern finds, letter by letter; python: entryPoint decides; recorded: "
        "the row's own correctnessColumn decides (only with source.rows); none: everything is accepted.",
    )
    answer_pattern: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="For the verifier regex: a Python regular expression. The answer is its last match in what follows "
        "the reasoning: the first group if it has one, otherwise the whole match.",
    )
    entry_point: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        max_length=256,
        description="For the verifier python: module:function of a package in the runtime image. It is called with the "
        "reference answer and what follows the reasoning, and returns whether that is right.",
    )
    on_truncated: Literal["drop", "keep"] = Field(
        default="drop",
        description="What becomes of a generation cut off by maxTokens (finish_reason length): "
        "drop counts it as rejected, keep verifies it like any other.",
    )
    keep: Literal["all", "first", "shortest", "longest"] = Field(
        default="all",
        description="Which of a prompt's correct generations are kept, or with maxPerPrompt: are preferred. Of "
        "generations with the same text only one counts.",
    )
    max_per_prompt: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Most generations kept of one prompt. Default: one, or any number with keep all.",
    )
    decontamination: Decontamination | None = Field(
        default=None, description="Reject prompts that are taken from a benchmark, before anything is verified."
    )
    min_acceptance_rate: Fraction = Field(
        default=0.0,
        description="Fail when a smaller share of all generations is accepted, rather than train on what is left. "
        "generate judges a sample of the answers as they arrive, and stops when the rate is out of reach.",
    )
    verify_timeout_seconds: int = Field(
        default=10, ge=1, le=600, description="Longest that verifying one generation may take."
    )

    license: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9.-]*$",
        max_length=64,
        description="Licence to state in the card of the kept data set, by the name that the Hugging Face hub knows it "
        "by, such as apache-2.0. Default: unknown.",
    )

    @model_validator(mode="after")
    def _check_verifier(self) -> Self:
        if (self.verifier == "regex") != (self.answer_pattern is not None):
            raise ValueError("answerPattern must be set with the verifier regex, and only with it")
        if (self.verifier == "python") != (self.entry_point is not None):
            raise ValueError("entryPoint must be set with the verifier python, and only with it")
        return self


class TokenizerSource(Parameters):
    """A tokenizer in HuggingFace's files."""

    uri: Uri = Field(
        description="A path on the claim of a directory with tokenizer.json (or vocab.json and merges.txt) and "
        "tokenizer_config.json, whose chat template is used."
    )


class PackParameters(Parameters):
    """Tokenisation and sequence packing."""

    tokenizer: TokenizerSource = Field(description="Tokenizer of the model that will be trained.")
    sequence_length: int = Field(ge=16, le=1_048_576, description="Length of a packed sequence in tokens.")
    max_sample_tokens: int | None = Field(
        default=None,
        ge=16,
        le=1_048_576,
        description="Longest sample in tokens; longer ones are rejected, never cut. Default: sequenceLength.",
    )
    system_prompt: str = Field(
        default=BOXED_SYSTEM_PROMPT,
        max_length=65536,
        description="System message put before each sample; empty for none.",
    )
    seed: int = Field(default=42, ge=0, le=2_147_483_647, description="Seed of the order of packed sequences.")


class PackedSource(Parameters):
    """A packed data set, as MindFormers' PackingHandler makes it with `packing: pack`, or this project's pack stage."""

    uri: Uri = Field(
        description="Where the sequences are: a directory that datasets.save_to_disk wrote, arrow or parquet files, or "
        "an artifact of the pack stage; places as in DistillDataset's spec.source.prompts.uri. The columns are "
        "input_ids, labels and actual_seq_len."
    )
    split: Split = None
    tokenizer: TokenizerSource | None = Field(
        default=None,
        description="Tokenizer that the sequences were made with: token ids are checked against its vocabulary, and a "
        "FinetuneRun against its own. Default: the one in the artifact of a pack stage; otherwise unknown.",
    )


class ModelSource(Parameters):
    """Base weights in HuggingFace's files."""

    uri: Uri = Field(
        description="A path on the claim of a directory with config.json, the tokenizer's files and, unless "
        "initialization is random, *.safetensors."
    )
    initialization: Literal["pretrained", "random"] = Field(
        default="pretrained",
        description="pretrained loads the weights; random starts from scratch with the architecture of config.json.",
    )


class Training(Parameters):
    """Hyperparameters of the fine-tuning."""

    epochs: int = Field(default=3, ge=1, le=1000, description="Passes over the packed data.")
    max_steps: int | None = Field(default=None, ge=1, description="Stop after so many steps, whatever epochs says.")
    batch_size: int = Field(
        default=1,
        ge=1,
        le=65536,
        description="Packed sequences that each data-parallel rank takes in a step (of each micro-batch, "
        "with pipeline parallelism).",
    )
    learning_rate: float = Field(default=5e-5, gt=0, le=1, description="Peak learning rate.")
    final_learning_rate: float = Field(
        default=0.0, ge=0, le=1, description="Learning rate at the end of the schedule; not used by constant."
    )
    learning_rate_schedule: Literal["cosine", "linear", "constant"] = Field(
        default="linear", description="How the learning rate falls after the warm-up."
    )
    warmup_ratio: Fraction = Field(default=0.1, description="Share of all steps over which the learning rate rises.")
    weight_decay: float = Field(default=0.01, ge=0, le=1, description="AdamW's weight decay.")
    adam_betas: tuple[Fraction, Fraction] = Field(default=(0.9, 0.95), description="AdamW's two decay rates.")
    adam_epsilon: float = Field(default=1e-8, gt=0, le=1, description="AdamW's epsilon.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Gradients are clipped to this global norm.")
    seed: int = Field(default=42, ge=0, le=2_147_483_647, description="Seed of initialisation and shuffling.")


class Parallelism(Parameters):
    """How the model is spread over devices; data parallel is devices / (tensor x pipeline x context)."""

    tensor: int = Field(default=1, ge=1, le=1024, description="Devices that share each layer.")
    pipeline: int = Field(default=1, ge=1, le=1024, description="Stages that the layers are split into.")
    context: int = Field(default=1, ge=1, le=1024, description="Devices that share each sequence.")
    sequence: bool = Field(default=False, description="Sequence parallelism within the tensor-parallel group.")
    micro_batches: int = Field(default=1, ge=1, le=4096, description="Micro-batches of a step, for pipelining.")


class Checkpoint(Parameters):
    """When training state is saved."""

    every_steps: int = Field(default=500, ge=1, description="Steps between two checkpoints.")
    keep: int = Field(default=2, ge=1, le=100, description="Checkpoints kept; older ones are deleted.")


class Benchmark(Parameters):
    """The problems that the student is asked."""

    name: str = Field(min_length=1, max_length=253, description="Name to report the score under, such as math-500.")
    uri: Uri = Field(description="Where the problems are; as in DistillDataset's spec.source.prompts.uri.")
    subset: Subset = None
    split: Split = None
    prompt_column: Column = Field(default="problem", description="Column that holds the problem.")
    answer_column: Column = Field(default="answer", description="Column that holds the reference answer.")
    limit: int | None = Field(default=None, ge=1, description="Use only the first so many problems.")


class Protocol(Parameters):
    """How the student is asked and scored: what makes two scores comparable."""

    system_prompt: str = Field(
        default=BOXED_SYSTEM_PROMPT, max_length=65536, description="System message; empty for none."
    )
    prompt_template: str = Field(
        default=PROMPT_PLACEHOLDER,
        max_length=65536,
        pattern=r"\{prompt\}",
        description="User message; {prompt} stands for the problem.",
    )
    samples_per_problem: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Answers asked for each problem; the score is pass@1, their mean.",
    )
    max_tokens: int = Field(default=32768, ge=1, le=1_048_576, description="Longest answer in tokens.")
    temperature: float = Field(default=0.6, ge=0, le=2, description="Sampling temperature; 0 is greedy decoding.")
    top_p: float = Field(default=0.95, gt=0, le=1, description="Nucleus sampling: total probability kept.")
    seed: int = Field(default=42, ge=0, le=2_147_483_647, description="Seed of sampling.")
    verifier: Literal["math-verify"] = Field(
        default="math-verify", description="How an answer is compared with the reference answer."
    )
    max_concurrent_requests: Annotated[int, OPERATIONAL] = Field(
        default=100, ge=1, le=10_000, description="Requests under way at once."
    )
    request_timeout_seconds: Annotated[int, OPERATIONAL] = Field(
        default=3600, ge=1, le=86_400, description="Longest a single request may take."
    )


MindFormersOverrides = dict[str, JsonValue]
"""Keys of the MindFormers YAML, merged last over what npu-distill writes."""

"""Where the rows of a data set come from."""

from pydantic import Field

from distill_runtime.contract.base import Parameters
from distill_runtime.contract.parameters.fields import Column, Split, Subset, Uri
from distill_runtime.contract.parameters.problems import ProblemColumns, ReferenceAnswers


class PromptSource(ProblemColumns):
    """A table of problems with reference answers."""

    uri: Uri = Field(
        description="Where the rows are: a path on the claim (a file or a directory of jsonl, parquet or arrow files, "
        "compressed or not, one that datasets.save_to_disk wrote, or a csv file), hf://owner/name or "
        "hf://owner/name@revision, or another URL such as http://host/prompts.jsonl or s3://bucket/prompts."
    )
    subset: Subset = None
    split: Split = None
    reference_answers: ReferenceAnswers = "required"
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
    reference_answers: ReferenceAnswers = "required"
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

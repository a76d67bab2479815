"""Tokenisation and sequence packing, and what has been packed already."""

from pydantic import Field

from distill_runtime.contract.base import Parameters
from distill_runtime.contract.parameters.fields import BOXED_SYSTEM_PROMPT, Split, Uri


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
        description="System message put before each sample; empty for none, as chat templates without one need.",
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

"""What a reader of the packed data set needs to know: `packing.json`, beside the sequences."""

from pathlib import Path

from pydantic import Field, ValidationError

from distill_runtime.contract import Model
from distill_runtime.foundation.errors import WrongInput

SEQUENCES_DIRECTORY = "sequences"
"""Directory of an artifact of the pack stage for `datasets.load_from_disk`."""
TOKENIZER_DIRECTORY = "tokenizer"
"""Directory of it with a copy of the tokenizer's files."""
_NAME = "packing.json"

PACKED_COLUMNS = ("input_ids", "labels", "actual_seq_len")
"""Columns of packed sequences."""
IGNORED_LABEL = -100
"""Label of a position that is not learned."""
SAMPLES_PER_SEQUENCE = 127
"""MindFormers' compressed attention mask has room for 128 ends of samples, the last of which closes the padding
(`compressed_eod_mask_length` of HFDataLoader, MindFormers 1.8)."""


class PackedDataset(Model):
    """The packed data set of an artifact."""

    sequences: int = Field(ge=1, description="Packed sequences.")
    sequence_length: int = Field(ge=1, description="Tokens of each, padding included.")
    samples: int = Field(ge=1, description="Samples in all sequences.")
    tokens: int = Field(ge=1, description="Tokens in all samples.")
    trained_tokens: int = Field(ge=1, description="Labels that are learned.")
    pad_token_id: int | None = Field(
        default=None, ge=0, description="Token that fills up sequences; absent if it is not known."
    )
    end_token_id: int | None = Field(
        default=None,
        ge=0,
        description="Token that every sample ends with, which is learned: the model stops by it; absent if it is not "
        "known.",
    )
    tokenizer: str | None = Field(
        default=None,
        description="Fingerprint of the tokenizer: digest of all that decides a text's token ids; absent if it is not "
        "known.",
    )
    largest_token_id: int | None = Field(
        default=None, ge=0, description="Largest token id, where the tokenizer is not known."
    )

    @property
    def fill(self) -> float:
        """Part of the sequences' positions that samples take."""
        return self.tokens / (self.sequences * self.sequence_length)

    def write(self, artifact: Path) -> None:
        """Write it into an artifact's directory."""
        (artifact / _NAME).write_text(
            self.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n", encoding="utf-8"
        )

    @staticmethod
    def is_in(directory: Path) -> bool:
        """Tell whether a directory is an artifact of the pack stage, or a copy of one."""
        return (directory / _NAME).is_file()

    @classmethod
    def read(cls, artifact: Path) -> "PackedDataset":
        """Read it from an artifact's directory.

        Raises:
            WrongInput: NotPackedData.
        """
        try:
            return cls.model_validate_json((artifact / _NAME).read_bytes())
        except (OSError, ValidationError) as error:
            raise WrongInput(
                "NotPackedData", f"{artifact} is not the artifact of a pack stage: {_NAME} is missing or wrong"
            ) from error

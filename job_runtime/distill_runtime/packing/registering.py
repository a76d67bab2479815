"""Sequences that are packed already: checked one by one, and written as an artifact of the pack stage has them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from distill_runtime.contract import InputFingerprint, Model, PackedSource
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.packing.checking import PackedRows, Rules, check_rows, check_schema
from distill_runtime.packing.description import (
    PACKED_COLUMNS,
    SEQUENCES_DIRECTORY,
    TOKENIZER_DIRECTORY,
    PackedDataset,
)
from distill_runtime.packing.sequences import FILE_TOKENS, SequenceWriter, sequence_batch
from distill_runtime.packing.tokens import SampleTokenizer
from distill_runtime.process.progress import Reporter
from distill_runtime.reporting.lengths import BARS, count_by_doubling
from distill_runtime.sources.files import DataFile
from distill_runtime.sources.fingerprint import fingerprint_source
from distill_runtime.sources.formats import ColumnarFormat, format_of
from distill_runtime.sources.layout import Selection
from distill_runtime.sources.table import find_files
from distill_runtime.storage.fingerprints import fingerprint_directory
from distill_runtime.storage.resumable import load_checkpoint, save_checkpoint
from distill_runtime.storage.volume import Volume

_BATCH_TOKENS = 1 << 19


@dataclass(frozen=True)
class PackedInput:
    """Packed sequences, opened.

    Attributes:
        uri: where they are.
        files: that hold them.
        sequence_length: tokens of the first one.
        tokenizer: that made them, if it is known.
        end_token_id: that every sample ends with, if a pack stage says so.
    """

    uri: str
    files: tuple[DataFile, ...]
    sequence_length: int
    tokenizer: SampleTokenizer | None
    end_token_id: int | None

    def rules(self, pad_token_id: int | None) -> Rules:
        """Give what the sequences must agree with."""
        rules = Rules(self.uri, self.sequence_length, pad_token_id)
        return rules if self.tokenizer is None else replace(rules, vocabulary_size=self.tokenizer.vocabulary_size)

    def count(self) -> int:
        """Count the sequences."""
        return sum(format_of(file).count(file) for file in self.files)

    def batches(self, file: int, row: int) -> Iterator[tuple[int, int, Any]]:
        """Read from a row of a file on: the file, the number of the row in it that follows, and the rows up to it."""
        rows = max(1, _BATCH_TOKENS // self.sequence_length)
        for index in range(file, len(self.files)):
            seen, done = 0, row if index == file else 0
            for batch in _batches(self.files[index], rows):
                seen += batch.num_rows
                if seen > done:
                    yield index, seen, batch.slice(max(0, done - (seen - batch.num_rows)))


class Registered(Model):
    """How far registering is."""

    file: int = Field(default=0, ge=0, description="File that is being read.")
    row: int = Field(default=0, ge=0, description="Its next row.")
    files: tuple[str, ...] = Field(default=(), description="Files written.")
    sequences: int = Field(default=0, ge=0, description="Sequences that they hold.")
    samples: int = Field(default=0, ge=0, description="Samples that they hold.")
    tokens: int = Field(default=0, ge=0, description="Tokens of the samples.")
    trained_tokens: int = Field(default=0, ge=0, description="Labels that are learned.")
    padding_labels: int = Field(default=0, ge=0, description="Those of them that are the pad token.")
    pad_token_id: int | None = Field(default=None, description="Token that fills up sequences, once one was seen.")
    largest_token_id: int = Field(default=0, ge=0, description="Largest token id.")
    lengths: tuple[int, ...] = Field(default=(0,) * BARS, description="Samples by length (`reporting.lengths`).")
    fingerprint: str = Field(default="", description="Digest of the sequences.")

    def with_rows(self, file: int, row: int, rows: PackedRows) -> "Registered":
        """Give the state after some more rows."""
        digest = hashlib.sha256(self.fingerprint.encode())
        for values in (rows.input_ids, rows.labels, rows.ends):
            digest.update(np.ascontiguousarray(values).data)
        return self.model_copy(
            update={
                "file": file,
                "row": row,
                "sequences": self.sequences + len(rows.input_ids),
                "samples": self.samples + len(rows.ends),
                "tokens": self.tokens + int(rows.lengths.sum()),
                "trained_tokens": self.trained_tokens + rows.learned,
                "padding_labels": self.padding_labels + rows.padding_labels,
                "pad_token_id": rows.pad_token_id,
                "largest_token_id": max(self.largest_token_id, int(rows.input_ids.max())),
                "lengths": tuple((np.array(self.lengths) + count_by_doubling(rows.lengths)).tolist()),
                "fingerprint": digest.hexdigest(),
            }
        )


def fingerprint_packed(source: PackedSource, volume: Volume) -> InputFingerprint:
    """Tell the content of packed sequences, or of the artifact that they are in.

    Raises:
        WrongInput: as `fingerprint_source` or `fingerprint_directory`.
    """
    if "://" not in source.uri and PackedDataset.is_in(volume.resolve(source.uri)):
        return fingerprint_directory("packed", source.uri, volume, ("**/*",))
    return fingerprint_source("packed", source.uri, volume, Selection(split=source.split))


def open_packed(source: PackedSource, volume: Volume) -> PackedInput:
    """Open packed sequences, and look at their columns and at the first of them.

    Raises:
        WrongInput: as `sources.table.find_files`, `checking.check_schema` and `SampleTokenizer`; UnknownFormat,
            EmptySource, NotPackedData or TokenizerMismatch.
    """
    uri, tokenizer_directory, fingerprint, end_token_id = source.uri, None, None, None
    if "://" not in uri and PackedDataset.is_in(volume.resolve(uri)):
        artifact = volume.resolve(uri)
        description = PackedDataset.read(artifact)
        fingerprint, end_token_id = description.tokenizer, description.end_token_id
        tokenizer_directory = artifact / TOKENIZER_DIRECTORY if fingerprint else None
        uri = f"{uri}/{SEQUENCES_DIRECTORY}"
    if source.tokenizer is not None:
        tokenizer_directory = volume.resolve(source.tokenizer.uri)
    tokenizer = None if tokenizer_directory is None else SampleTokenizer(tokenizer_directory)
    if tokenizer is not None and fingerprint not in (None, tokenizer.fingerprint()):
        raise WrongInput(
            "TokenizerMismatch",
            f"{source.uri} was packed with another tokenizer than {tokenizer_directory}, so its numbers mean other "
            "text; leave source.packed.tokenizer out, or name the one that it was packed with",
        )
    files = find_files(uri, volume, Selection(split=source.split))
    for file in files:
        check_schema(file.name, _columnar(file).schema(file))
    head = next((batch for file in files for batch in _batches(file, 1)), None)
    if head is None:
        raise WrongInput("EmptySource", f"{uri} has no sequences")
    first = head["input_ids"][0].as_py()
    if not first:
        raise WrongInput("EmptySource", f"the first sequence of {uri} has no tokens")
    packed = PackedInput(uri, files, len(first), tokenizer, end_token_id)
    check_rows(head, 0, packed.rules(None))
    return packed


def register(packed: PackedInput, output: Path, checkpoint: Path, reporter: Reporter) -> Registered:
    """Check and write all sequences that are left, file by file; give the state at the end.

    Raises:
        WrongInput: InvalidSequence.
    """
    done = load_checkpoint(checkpoint, Registered())
    reporter.update(done=done.sequences)
    writer = SequenceWriter(output / SEQUENCES_DIRECTORY, done.files)
    batches = packed.batches(done.file, done.row)
    batch = next(batches, None)
    while batch is not None:
        state, sequences_of_file = done, max(1, FILE_TOKENS // packed.sequence_length)
        with writer.next_file() as stream:
            while batch is not None and state.sequences - done.sequences < sequences_of_file:
                file, row, values = batch
                rows = check_rows(values, state.sequences, packed.rules(state.pad_token_id))
                stream.write_batch(sequence_batch(rows.input_ids, rows.labels, rows.ends, rows.end_offsets))
                state = state.with_rows(file, row, rows)
                reporter.update(done=state.sequences)
                batch = next(batches, None)
        done = state.model_copy(update={"files": writer.files})
        save_checkpoint(checkpoint, done)
    return done


def _batches(file: DataFile, rows: int) -> Iterator[Any]:
    """Read a file, so many rows at a time; empty batches are left out."""
    for batch in _columnar(file).batches(file, PACKED_COLUMNS, rows):
        if batch.num_rows:
            yield batch


def _columnar(file: DataFile) -> ColumnarFormat:
    chosen = format_of(file)
    if not isinstance(chosen, ColumnarFormat):
        raise WrongInput(
            "UnknownFormat", f"{file.name} holds no columns of numbers; packed data is in arrow or parquet files"
        )
    return chosen

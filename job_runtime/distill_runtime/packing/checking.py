"""What packed sequences must be for MindFormers to train on what they mean.

MindFormers' PackingHandler (dataset/handler/packing_handler.py, 1.5 to 1.9) with `packing: pack` writes, and its loader
(dataset/dataloader/hf_dataloader.py) takes without a look:

* input_ids: samples one after another, then the pad token. All rows are equally long.
* labels: shifted, so that each is the token that comes next. -100 is not learned: prompts and padding. At the last
  token of a sample, where nothing comes next, it writes the pad token, which is learned; this project's pack stage
  writes -100.
* actual_seq_len: where each sample ends, counted from the start of the row. Attention and positions follow from it, so
  an end that is wrong makes samples see each other.
"""

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.packing.description import IGNORED_LABEL, PACKED_COLUMNS

_REPACK = "pack the samples again, with MindFormers' PackingHandler and `packing: pack` or here as source.rows"


@dataclass(frozen=True, slots=True)
class Rules:
    """What rows must agree with.

    Attributes:
        uri: where they are, for messages.
        sequence_length: tokens of each.
        pad_token_id: what fills them up; None as long as no row has said.
        vocabulary_size: token ids are below it.
    """

    uri: str
    sequence_length: int
    pad_token_id: int | None = None
    vocabulary_size: int = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Rows that are as they must be.

    Attributes:
        input_ids, labels: int32, one sequence a row.
        ends, end_offsets: int32; row i has the ends[end_offsets[i]:end_offsets[i + 1]].
        lengths: int64, tokens of each sample.
        pad_token_id: what fills up sequences, as far as is known now.
        learned: labels that are learned.
        padding_labels: those of them that are the pad token after the last one of a sample.
    """

    input_ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    ends: NDArray[np.int32]
    end_offsets: NDArray[np.int32]
    lengths: NDArray[np.int64]
    pad_token_id: int | None
    learned: int
    padding_labels: int


def check_schema(name: str, schema: "pa.Schema") -> None:
    """Check that a file has the columns, as lists of integers.

    Raises:
        WrongInput: ColumnMissing or WrongColumnType.
    """
    for column in PACKED_COLUMNS:
        if column not in schema.names:
            raise WrongInput(
                "ColumnMissing",
                f"{name} has no column {column!r}; it has {', '.join(schema.names)}. Packed data has "
                f"{', '.join(PACKED_COLUMNS)}; {_REPACK}",
            )
        kind = schema.field(column).type
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        if not (is_list and pa.types.is_integer(kind.value_type)):
            raise WrongInput(
                "WrongColumnType", f"column {column!r} of {name} holds {kind}, not lists of integers; {_REPACK}"
            )


def check_rows(batch: "pa.RecordBatch", first: int, rules: Rules) -> PackedRows:
    """Check rows, and give them as arrays.

    Args:
        batch: with `PACKED_COLUMNS`.
        first: number of its first row.
        rules: what they must agree with.

    Raises:
        WrongInput: InvalidSequence, which names row, column and remedy.
    """
    checker = _Checker(first, rules)
    checker.check_shape(batch)
    counts = _integers(pc.list_value_length(batch["actual_seq_len"]))
    ends = _integers(batch["actual_seq_len"].flatten())
    row_of_end = np.repeat(np.arange(len(counts)), counts)
    checker.check_ends(ends, row_of_end, len(counts))
    end_offsets = np.concatenate(([0], np.cumsum(counts)))

    shape = (len(counts), rules.sequence_length)
    ids, labels = (_integers(batch[column].flatten()).reshape(shape) for column in ("input_ids", "labels"))
    checker.check_ids(ids)
    padding = np.arange(rules.sequence_length) >= ends[end_offsets[1:] - 1][:, None]
    last = np.zeros(shape, np.bool_)
    last[row_of_end, ends - 1] = True
    pad_token_id = checker.check_padding(ids, labels, padding)
    pad_token_id = checker.check_last_labels(labels, last, pad_token_id)
    checker.check_labels(ids, labels, ~last & ~padding)
    learned = labels != IGNORED_LABEL
    return PackedRows(
        input_ids=ids.astype(np.int32),
        labels=labels.astype(np.int32),
        ends=ends.astype(np.int32),
        end_offsets=end_offsets.astype(np.int32),
        lengths=ends - _starts(ends, row_of_end),
        pad_token_id=pad_token_id,
        learned=int(learned.sum()),
        padding_labels=int((learned & last).sum()),
    )


@dataclass(frozen=True, slots=True)
class _Checker:
    """The checks of one batch, whose first row has the number `first`."""

    first: int
    rules: Rules

    def check_shape(self, batch: "pa.RecordBatch") -> None:
        """Refuse nulls, and sequences of another length."""
        for column in PACKED_COLUMNS:
            values = batch[column]
            if values.null_count or values.flatten().null_count:
                row = next(row for row, value in enumerate(values.to_pylist()) if value is None or None in value)
                self._refuse(row, column, "is null or has a null among its numbers", f"remove the row, or {_REPACK}")
        for column in ("input_ids", "labels"):
            lengths = _integers(pc.list_value_length(batch[column]))
            for row in _first(lengths != self.rules.sequence_length):
                self._refuse(
                    row,
                    column,
                    f"has {lengths[row]} numbers, but the first sequence has {self.rules.sequence_length} tokens",
                    "pack all samples to the same seq_length",
                )

    def check_ends(self, ends: NDArray[np.int64], row_of_end: NDArray[np.int64], rows: int) -> None:
        """Refuse ends that do not rise from the start of the sequence, or go beyond its end."""
        for row in _first(np.bincount(row_of_end, minlength=rows) == 0):
            self._refuse(row, "actual_seq_len", "is empty", _REPACK)
        for index in _first(ends <= _starts(ends, row_of_end)):
            self._refuse(
                row_of_end[index],
                "actual_seq_len",
                f"has {ends[index]} where it must be more than {_starts(ends, row_of_end)[index]}: it says where each "
                "sample ends, counted from the start of the sequence",
                _REPACK,
            )
        for index in _first(ends > self.rules.sequence_length):
            self._refuse(
                row_of_end[index],
                "actual_seq_len",
                f"ends at {ends[index]}, but the sequence has {self.rules.sequence_length} tokens",
                _REPACK,
            )

    def check_ids(self, ids: NDArray[np.int64]) -> None:
        """Refuse what is no token of the vocabulary."""
        for row, position in _first((ids < 0) | (ids >= self.rules.vocabulary_size)):
            self._refuse(
                row,
                "input_ids",
                f"has {ids[row, position]} at position {position}; a token id is from 0 to "
                f"{self.rules.vocabulary_size - 1}",
                "name the tokenizer that the data was packed with, or pack it with this one",
            )

    def check_padding(
        self, ids: NDArray[np.int64], labels: NDArray[np.int64], padding: NDArray[np.bool_]
    ) -> int | None:
        """Refuse anything but padding behind the last sample; give the pad token, if it is known now."""
        pad = self.rules.pad_token_id
        if pad is None and padding.any():
            pad = int(ids[padding][0])
        for row, position in _first(padding & (ids != pad)) if pad is not None else ():
            self._refuse(
                row,
                "input_ids",
                f"has {ids[row, position]} at position {position}, behind the last sample, where sequences are filled "
                f"up with {pad}",
                f"actual_seq_len must reach to the last sample's end; {_REPACK}",
            )
        for row, position in _first(padding & (labels != IGNORED_LABEL)):
            self._refuse(
                row,
                "labels",
                f"has {labels[row, position]} at position {position}, behind the last sample, where nothing is learned",
                f"actual_seq_len must reach to the last sample's end; {_REPACK}",
            )
        return pad

    def check_last_labels(
        self, labels: NDArray[np.int64], last: NDArray[np.bool_], pad_token_id: int | None
    ) -> int | None:
        """Refuse labels that lead from one sample into the next; give the pad token, if it is known now."""
        learned = last & (labels != IGNORED_LABEL)
        pad = pad_token_id
        if pad is None and learned.any():
            pad = int(labels[learned][0])
        for row, position in _first(learned & (labels != pad)) if pad is not None else ():
            self._refuse(
                row,
                "labels",
                f"has {labels[row, position]} at position {position}, the last one of a sample, where nothing comes "
                f"next: it must be {IGNORED_LABEL} or the pad token {pad}",
                f"actual_seq_len must say where each sample ends; {_REPACK}",
            )
        return pad

    def check_labels(self, ids: NDArray[np.int64], labels: NDArray[np.int64], inner: NDArray[np.bool_]) -> None:
        """Refuse labels that are not the token that comes next, and sequences that teach nothing."""
        learned = labels != IGNORED_LABEL
        following = np.roll(ids, -1, axis=1)
        for row, position in _first(inner & learned & (labels != following)):
            itself = learned[row] & inner[row]
            unshifted = np.array_equal(labels[row][itself], ids[row][itself])
            self._refuse(
                row,
                "labels",
                "are not shifted: each is the token at its own position instead of the one that comes next"
                if unshifted
                else f"has {labels[row, position]} at position {position}, but the token that comes next is "
                f"{following[row, position]}",
                f"a label is the token that comes next, or {IGNORED_LABEL} where that is not learned; {_REPACK}",
            )
        for row in _first(~learned.any(axis=1)):
            self._refuse(row, "labels", f"are all {IGNORED_LABEL}: it teaches nothing", f"remove the row, or {_REPACK}")

    def _refuse(self, row: int, column: str, what: str, remedy: str) -> NoReturn:
        raise WrongInput(
            "InvalidSequence",
            f"row {self.first + row} of {self.rules.uri}, counted from 0: column {column} {what}; {remedy}",
        )


def _first(wrong: NDArray[np.bool_]) -> list[Any]:
    """Give the index of the first that is wrong, in a list of its own; of a matrix, row and column."""
    if not wrong.any():
        return []
    index = np.unravel_index(int(wrong.argmax()), wrong.shape)
    return [int(index[0]) if wrong.ndim == 1 else tuple(int(part) for part in index)]


def _starts(ends: NDArray[np.int64], row_of_end: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give where each sample starts: where the one before it ends, or at 0."""
    starts = np.roll(ends, 1)
    starts[np.flatnonzero(np.diff(row_of_end, prepend=-1))] = 0
    return starts


def _integers(values: "pa.Array") -> NDArray[np.int64]:
    return np.asarray(values.to_numpy(zero_copy_only=False)).astype(np.int64)

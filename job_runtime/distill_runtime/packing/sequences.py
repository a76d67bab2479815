"""The packed data set on disk: the arrow files of `datasets.load_from_disk`, written as a stream.

Columns, as MindFormers' HFDataLoader wants them with `create_attention_mask` (dataset/dataloader/hf_dataloader.py):

* input_ids: the samples one after another, then padding.
* labels: for each position the token that comes next, IGNORED_LABEL where that is not learned: within a prompt, at the
  last token of a sample (what follows belongs to another sample) and in the padding. Already shifted: the network must
  not shift them again.
* actual_seq_len: where each sample ends, counted from the start of the sequence.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distill_runtime.packing.description import IGNORED_LABEL
from distill_runtime.packing.plan import Plan
from distill_runtime.packing.sample_store import SampleStore

_BATCH_TOKENS = 1 << 20
FILE_TOKENS = 1 << 26
"""Tokens of one arrow file: half a GiB, as `datasets` itself splits."""
_INT32_LIST = {"feature": {"dtype": "int32", "_type": "Value"}, "_type": "Sequence"}
_FEATURES = {"input_ids": _INT32_LIST, "labels": _INT32_LIST, "actual_seq_len": _INT32_LIST}
_SCHEMA = pa.schema(
    [(name, pa.list_(pa.int32())) for name in _FEATURES],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)


@dataclass(frozen=True, slots=True)
class Layout:
    """What a sequence looks like."""

    sequence_length: int
    pad_token_id: int


@dataclass(frozen=True, slots=True)
class SampleTable:
    """Where the tokens of each sample are; three int64 arrays of equal length."""

    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    prompt_lengths: NDArray[np.int64]

    @classmethod
    def of(cls, store: SampleStore) -> "SampleTable":
        """Give the table of a store."""
        entries = store.entries()
        lengths = np.ascontiguousarray(entries["length"])
        offsets = np.concatenate(([0], np.cumsum(lengths[:-1]))) if len(lengths) else lengths
        return cls(offsets, lengths, np.ascontiguousarray(entries["prompt_length"]))


class SequenceWriter:
    """The packed data set, written one file after another.

    Args:
        directory: to write into.
        files: names of the files that are complete; others, which a killed attempt left behind, are removed.

    Attributes:
        files: names of the files so far.
    """

    def __init__(self, directory: Path, files: tuple[str, ...]) -> None:
        self._directory = directory
        self.files = files
        directory.mkdir(parents=True, exist_ok=True)
        for path in directory.iterdir():
            if path.name not in files:
                path.unlink()

    def write(self, store: SampleStore, table: SampleTable, plan: Plan, layout: Layout) -> None:
        """Write the sequences of one block of samples, durably.

        Args:
            store: the samples' tokens.
            table: where each sample is in the store.
            plan: which samples share a sequence.
            layout: how long a sequence is, and what fills it up.
        """
        rows = max(1, _BATCH_TOKENS // layout.sequence_length)
        rows_of_file = max(1, FILE_TOKENS // layout.sequence_length)
        for first in range(0, len(plan), rows_of_file):
            end = min(first + rows_of_file, len(plan))
            with self.next_file() as stream:
                for start in range(first, end, rows):
                    batch = range(start, min(start + rows, end))
                    stream.write_batch(_pack(store, table, plan, layout, batch))

    @contextmanager
    def next_file(self) -> Iterator[Any]:
        """Open the next file, as a `pyarrow.ipc.RecordBatchStreamWriter` of `sequence_batch`; durable at the end."""
        name = f"data-{len(self.files):05}.arrow"
        with (self._directory / name).open("wb") as file:
            with pa.ipc.new_stream(file, _SCHEMA) as stream:
                yield stream
            file.flush()
            os.fsync(file.fileno())
        self.files = (*self.files, name)


def write_index(directory: Path, files: tuple[str, ...], fingerprint: str) -> None:
    """Write what `datasets` needs besides the rows.

    Args:
        directory: of a `SequenceWriter`.
        files: that it wrote.
        fingerprint: names what `datasets` may cache of this data set; equal only for equal content.
    """
    state: dict[str, object] = {
        "_data_files": [{"filename": name} for name in files],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    _write_json(directory / "state.json", state)
    _write_json(directory / "dataset_info.json", {"features": _FEATURES})


def _pack(store: SampleStore, table: SampleTable, plan: Plan, layout: Layout, sequences: range) -> pa.RecordBatch:
    shape = (len(sequences), layout.sequence_length)
    input_ids = np.full(shape, layout.pad_token_id, np.int32)
    labels = np.full(shape, IGNORED_LABEL, np.int32)
    ends: list[NDArray[np.int64]] = []
    for row, sequence in enumerate(sequences):
        samples = plan.sequence(sequence)
        ends.append(np.cumsum(table.lengths[samples]))
        start = 0
        for offset, prompt_length, end in zip(
            table.offsets[samples].tolist(), table.prompt_lengths[samples].tolist(), ends[-1].tolist(), strict=True
        ):
            store.read_into(input_ids[row, start:end], offset)
            learned = start + prompt_length
            labels[row, learned - 1 : end - 1] = input_ids[row, learned:end]
            start = end
    end_offsets = np.concatenate(([0], np.cumsum([len(group) for group in ends]))).astype(np.int32)
    return sequence_batch(input_ids, labels, np.concatenate(ends).astype(np.int32), end_offsets)


def sequence_batch(
    input_ids: NDArray[np.int32], labels: NDArray[np.int32], ends: NDArray[np.int32], end_offsets: NDArray[np.int32]
) -> "pa.RecordBatch":
    """Make a batch of sequences.

    Args:
        input_ids, labels: one sequence a row.
        ends, end_offsets: of its samples; row i has the ends[end_offsets[i]:end_offsets[i + 1]].
    """
    full = np.arange(0, input_ids.size + 1, input_ids.shape[1], dtype=np.int32)
    columns = [
        pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
        for offsets, values in (
            (full, input_ids.reshape(-1)),
            (full, labels.reshape(-1)),
            (end_offsets, ends),
        )
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

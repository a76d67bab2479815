"""Packed sequences hold every sample once, whole, and labels cover the assistant's tokens and nothing else."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from distill_runtime.packing.plan import plan_sequences
from distill_runtime.packing.sample_store import SampleStore
from distill_runtime.packing.sequences import Layout, SampleTable, SequenceWriter, write_index
from distill_runtime.packing.tokens import Sample

LENGTH = 24
PAD = 999

sample = st.tuples(st.integers(1, 10), st.integers(1, 14)).map(
    lambda sizes: Sample(np.arange(sum(sizes), dtype=np.int32) + 1, sizes[0])
)


def numbered(samples: list[Sample]) -> list[Sample]:
    """Make the tokens of all samples different from each other."""
    return [
        Sample(sample.tokens + np.int32(1000 * number), sample.prompt_length)
        for number, sample in enumerate(samples, start=1)
    ]


def pack(directory: Path, samples: list[Sample]) -> list[dict[str, NDArray[np.int64]]]:
    """Pack, and read back as `datasets` does."""
    from datasets import load_from_disk  # noqa: PLC0415

    with SampleStore(directory / "store", 0) as store:
        store.append(samples)
        table = SampleTable.of(store)
        plan = plan_sequences(table.lengths, LENGTH, 127, np.random.default_rng(0))
        writer = SequenceWriter(directory / "packed", ())
        writer.write(store, table, plan, Layout(LENGTH, PAD))
        write_index(directory / "packed", writer.files, "0")
    return list(load_from_disk(str(directory / "packed")).with_format("numpy"))


@given(samples=st.lists(sample, min_size=1, max_size=12))
@settings(max_examples=40)
def test_every_sample_is_there_and_apart(tmp_path_factory: pytest.TempPathFactory, samples: list[Sample]) -> None:
    expected = {tuple(sample.tokens.tolist()): sample.prompt_length for sample in numbered(samples)}
    for row in pack(tmp_path_factory.mktemp("pack"), numbered(samples)):
        tokens, labels, ends = row["input_ids"], row["labels"], row["actual_seq_len"]
        assert len(tokens) == len(labels) == LENGTH
        start = 0
        for end in ends:
            prompt_length = expected.pop(tuple(tokens[start:end].tolist()))
            # Position i learns the token at i + 1; the last one has no next token of its own.
            learned = np.full(end - start, -100)
            learned[prompt_length - 1 : -1] = tokens[start + prompt_length : end]
            np.testing.assert_array_equal(labels[start:end], learned)
            start = end
        assert set(tokens[start:].tolist()) <= {PAD}
        assert set(labels[start:].tolist()) <= {-100}
    assert not expected


def test_what_a_killed_attempt_left_is_replaced(tmp_path: Path) -> None:
    samples = numbered([Sample(np.arange(9, dtype=np.int32), 3)] * 4)
    first = pack(tmp_path, samples)
    (tmp_path / "packed" / "data-00000.arrow").write_bytes(b"torn")
    (tmp_path / "packed" / "data-00001.arrow").write_bytes(b"left over")
    second = pack(tmp_path, samples)
    assert [row["input_ids"].tolist() for row in first] == [row["input_ids"].tolist() for row in second]
    assert not (tmp_path / "packed" / "data-00001.arrow").exists()


def test_the_store_keeps_what_its_checkpoint_says(tmp_path: Path) -> None:
    samples = numbered([Sample(np.arange(5, dtype=np.int32), 2), Sample(np.arange(7, dtype=np.int32), 3)])
    with SampleStore(tmp_path, 0) as store:
        store.append(samples)
    with (tmp_path / "tokens").open("ab") as file:
        file.write(b"torn")
    with SampleStore(tmp_path, 1) as store:
        store.append(samples[1:])
        table = SampleTable.of(store)
        assert table.lengths.tolist() == [5, 7]
        assert table.offsets.tolist() == [0, 5]
        tokens = np.empty(12, np.int32)
        store.read_into(tokens, 0)
    np.testing.assert_array_equal(tokens, np.concatenate([sample.tokens for sample in samples]))


def test_a_store_with_less_than_its_checkpoint_says_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds 0 samples, not 3"):
        SampleStore(tmp_path, 3)

"""Packing: how full the sequences are, how long planning takes, how fast they are written; MindFormers beside it."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import Row
from bench._processes import run
from distill_runtime.packing.description import SAMPLES_PER_SEQUENCE
from distill_runtime.packing.plan import plan_sequences
from distill_runtime.packing.sample_store import SampleStore
from distill_runtime.packing.sequences import Layout, SampleTable, SequenceWriter, write_index
from distill_runtime.packing.tokens import Sample

LONGEST = 16_384
PLANNED = 1_000_000
WRITTEN = 30_000
COMPARED = 1_000
"""Samples that MindFormers packs too: it takes a hundred bytes of memory a token."""


def measure() -> Iterator[Row]:
    """Plan a million samples, write thirty thousand, and pack a thousand as MindFormers does."""
    for sequence_length in (16_384, 32_768):
        planned = run(plan, PLANNED, sequence_length)
        seconds, fill = planned.result
        their_fill, _ = run(pack_with_mindformers, COMPARED, sequence_length).result
        yield Row(
            f"pack: fill at {sequence_length}, of {PLANNED} samples",
            f"{fill:.5f}",
            f"MindFormers {their_fill:.3f}",
            ">= 0.999",
            fill >= 0.999,
        )
        yield Row(
            f"pack: plan of {PLANNED} at {sequence_length}",
            f"{seconds:.2f} CPU-s, {planned.peak_bytes / 1e6:.0f} MB",
            "",
            "<= 1 s, < 200 MB",
            seconds <= 1 and planned.peak_bytes < 200e6,
        )
    ours = run(write, WRITTEN, 32_768)
    speed = ours.result
    _, their_speed = run(pack_with_mindformers, COMPARED, 32_768).result
    yield Row(
        f"pack: write {WRITTEN} samples, Mtok a CPU-second",
        f"{speed / 1e6:.0f} ({speed / their_speed:.0f}x), {ours.peak_bytes / 1e6:.0f} MB",
        f"MindFormers {their_speed / 1e6:.1f}",
        ">= 20, >= 5x, < 600 MB",
        speed >= 20e6 and speed >= 5 * their_speed and ours.peak_bytes < 600e6,
    )


def lengths_of(samples: int) -> NDArray[np.int64]:
    """Give lengths as reasoning has them: lognormal, half below 4,000 tokens, at most 16,384."""
    drawn = np.random.default_rng(0).lognormal(np.log(4000), 1, samples)
    return np.clip(drawn, 1, LONGEST).astype(np.int64)


def plan(samples: int, sequence_length: int) -> tuple[float, float]:
    """Give CPU-seconds and fill of a plan."""
    lengths = lengths_of(samples)
    began = time.process_time()
    planned = plan_sequences(lengths, sequence_length, SAMPLES_PER_SEQUENCE, np.random.default_rng(0))
    return time.process_time() - began, lengths.sum() / (len(planned) * sequence_length)


def write(samples: int, sequence_length: int) -> float:
    """Give tokens a CPU-second of planning and writing, from samples on disk."""
    lengths = lengths_of(samples)
    tokens = np.arange(LONGEST, dtype=np.int32)
    with tempfile.TemporaryDirectory() as directory, SampleStore(Path(directory), 0) as store:
        for start in range(0, samples, 256):
            store.append([Sample(tokens[:length], int(length) // 10 + 1) for length in lengths[start : start + 256]])
        began = time.process_time()
        table = SampleTable.of(store)
        planned = plan_sequences(table.lengths, sequence_length, SAMPLES_PER_SEQUENCE, np.random.default_rng(0))
        writer = SequenceWriter(Path(directory, "sequences"), ())
        writer.write(store, table, planned, Layout(sequence_length, 0))
        write_index(Path(directory, "sequences"), writer.files, "0")
        return float(lengths.sum()) / (time.process_time() - began)


def pack_with_mindformers(samples: int, sequence_length: int) -> tuple[float, float]:
    """Give fill, and tokens a CPU-second, of MindFormers' own packing."""
    from datasets import Dataset  # noqa: PLC0415 - its own process only
    from mindformers.dataset.handler.packing_handler import PackingConfig, pack_examples  # noqa: PLC0415

    lengths = lengths_of(samples)
    rows = [list(range(length)) for length in lengths.tolist()]
    examples = Dataset.from_dict({"input_ids": rows, "labels": rows})
    with tempfile.TemporaryDirectory() as directory:
        began = time.process_time()
        packed = pack_examples(examples, PackingConfig(seq_length=sequence_length))
        packed.save_to_disk(directory)
        seconds = time.process_time() - began
    return float(lengths.sum()) / (len(packed) * sequence_length), float(lengths.sum()) / seconds

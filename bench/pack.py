"""Packing: how full the sequences are, how long planning takes, how fast they are written; MindFormers beside it."""

import bisect
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

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
PLANNED_BY_BISECT = 50_000
"""Samples that best fit as it is usually written plans too: with more, moving its list takes most of its time."""

PLAN_FASTER = {16_384: 5, 32_768: 4}
"""How many times our CPU-seconds the peer takes, by sequence length."""

PLAN_BYTES = 100
"""Of memory, that a plan may take for each sample."""

WRITTEN = 30_000
COMPARED = 1_000
"""Samples that MindFormers packs too: it takes a hundred bytes of memory a token."""

WRITE_FASTER = 25
WRITE_GROWTH = 0.05
"""Of memory, that writing ten times the samples may take for each byte of what they hold more."""

ROUNDS = 3
TOKEN_BYTES = 4


def measure() -> Iterator[Row]:
    """Plan a million samples, write thirty thousand, and pack a thousand as MindFormers does."""
    for sequence_length, faster in PLAN_FASTER.items():
        fill = run(fill_of, PLANNED, sequence_length).result
        their_fill, _ = run(pack_with_mindformers, COMPARED, sequence_length).result
        yield Row(
            f"pack: fill at {sequence_length}, of {PLANNED} samples",
            f"{fill:.5f}",
            f"MindFormers {their_fill:.3f}",
            ">= 0.999",
            fill >= 0.999,
        )
        ours, theirs = run(plan_by_both, sequence_length).result
        yield Row(
            f"pack: plan at {sequence_length}, CPU-s a million samples",
            f"{ours * 1e6:.2f} (1/{theirs / ours:.1f})",
            f"best fit by bisect {theirs * 1e6:.2f}",
            f"<= 1/{faster} of the peer",
            theirs / ours >= faster,
        )
        few, many = (run(fill_of, samples, sequence_length).peak_bytes for samples in (PLANNED // 10, PLANNED))
        per_sample = (many - few) / (PLANNED - PLANNED // 10)
        yield Row(
            f"pack: plan at {sequence_length}, memory a sample",
            f"{per_sample:.0f} B ({many / 1e6:.0f} MB of {PLANNED})",
            "",
            f"<= {PLAN_BYTES} B",
            per_sample <= PLAN_BYTES,
        )
    yield from _writing()


def _writing() -> Iterator[Row]:
    few, many = (run(write, samples, 32_768) for samples in (WRITTEN // 10, WRITTEN))
    _, their_speed = run(pack_with_mindformers, COMPARED, 32_768).result
    ratio = many.result / their_speed
    yield Row(
        f"pack: write {WRITTEN} samples, Mtok a CPU-second",
        f"{many.result / 1e6:.0f} ({ratio:.0f}x)",
        f"MindFormers {their_speed / 1e6:.1f}",
        f">= {WRITE_FASTER}x the peer",
        ratio >= WRITE_FASTER,
    )
    more = TOKEN_BYTES * (int(lengths_of(WRITTEN).sum()) - int(lengths_of(WRITTEN // 10).sum()))
    growth = (many.peak_bytes - few.peak_bytes) / more
    yield Row(
        f"pack: memory of writing {more / 1e6:.0f} MB more of tokens",
        f"{growth * 100:.1f} % of them ({many.peak_bytes / 1e6:.0f} MB)",
        "",
        f"<= {WRITE_GROWTH * 100:g} %",
        growth <= WRITE_GROWTH,
    )


def lengths_of(samples: int) -> NDArray[np.int64]:
    """Give lengths as reasoning has them: lognormal, half below 4,000 tokens, at most 16,384."""
    drawn = np.random.default_rng(0).lognormal(np.log(4000), 1, samples)
    return np.clip(drawn, 1, LONGEST).astype(np.int64)


def fill_of(samples: int, sequence_length: int) -> float:
    """Give the share of a plan's sequences that is filled."""
    lengths = lengths_of(samples)
    planned = plan_sequences(lengths, sequence_length, SAMPLES_PER_SEQUENCE, np.random.default_rng(0))
    return float(lengths.sum()) / (len(planned) * sequence_length)


def plan_by_both(sequence_length: int) -> tuple[float, float]:
    """Give CPU-seconds a sample of our plan and of the usual one, medians of rounds in turn."""
    lengths, fewer = lengths_of(PLANNED), lengths_of(PLANNED_BY_BISECT).tolist()
    our_seconds, their_seconds = [], []
    for _ in range(ROUNDS):
        began = time.process_time()
        plan_sequences(lengths, sequence_length, SAMPLES_PER_SEQUENCE, np.random.default_rng(0))
        between = time.process_time()
        plan_by_bisect(fewer, sequence_length)
        ended = time.process_time()
        our_seconds.append((between - began) / PLANNED)
        their_seconds.append((ended - between) / PLANNED_BY_BISECT)
    return median(our_seconds), median(their_seconds)


def plan_by_bisect(lengths: list[int], sequence_length: int) -> list[list[int]]:
    """Pack samples by best-fit decreasing as it is usually written: one by one, into a sorted list of what has room."""
    sequences: list[list[int]] = []
    rooms: list[tuple[int, int]] = []
    for sample in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        place = bisect.bisect_left(rooms, (lengths[sample], 0))
        if place < len(rooms):
            room, number = rooms.pop(place)
        else:
            room, number = sequence_length, len(sequences)
            sequences.append([])
        sequences[number].append(sample)
        bisect.insort(rooms, (room - lengths[sample], number))
    return sequences


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
    from mindformers.dataset.handler.packing_handler import PackingConfig, PackingHandler, pack_examples  # noqa: PLC0415

    lengths = lengths_of(samples)
    rows = [list(range(length)) for length in lengths.tolist()]
    examples = Dataset.from_dict({"input_ids": rows, "labels": rows})
    with tempfile.TemporaryDirectory() as directory:
        began = time.process_time()
        packed = pack_examples(examples, PackingConfig(sequence_length, output_columns=PackingHandler.output_columns))
        packed.save_to_disk(directory)
        seconds = time.process_time() - began
    return float(lengths.sum()) / (len(packed) * sequence_length), float(lengths.sum()) / seconds

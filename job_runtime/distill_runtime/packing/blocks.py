"""The rows of a pack stage, a block at a time: tokenised into the store, then packed and written.

Only a block's lengths are held in memory, so that it does not grow with the rows. A block is large enough that packing
it alone wastes nothing: its sequences are as full as those of all samples together.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import orjson
from pydantic import Field

from distill_runtime.contract import Model, PackParameters
from distill_runtime.packing.chat import Exchange, Message, render
from distill_runtime.packing.description import SAMPLES_PER_SEQUENCE
from distill_runtime.packing.plan import plan_sequences
from distill_runtime.packing.sample_store import SampleStore
from distill_runtime.packing.sequences import Layout, SampleTable, SequenceWriter
from distill_runtime.packing.tokens import SampleTokenizer
from distill_runtime.reporting.lengths import BARS, count_by_doubling
from distill_runtime.storage.resumable import GrowingFile, json_line, read_lines

TOO_LONG = "tooLong"

BLOCK_SAMPLES = 1 << 17
_BATCH_ROWS = 256
_BATCH_BYTES = 8 << 20
_SAVE_SECONDS = 5.0


class Packed(Model):
    """How far a pack stage is. Without what only the current block has, it speaks of complete blocks."""

    rows: int = Field(default=0, ge=0, description="Rows tokenised.")
    offset: int = Field(default=0, ge=0, description="Where the next row starts, in bytes.")
    rejects_size: int = Field(default=0, ge=0, description="Bytes of the list of rejected rows.")
    rejected: int = Field(default=0, ge=0, description="Rows that are too long.")
    waiting: int = Field(default=0, ge=0, description="Samples of the current block, which are in the store.")
    blocks: int = Field(default=0, ge=0, description="Blocks written.")
    files: tuple[str, ...] = Field(default=(), description="Files that they are in.")
    samples: int = Field(default=0, ge=0, description="Samples that they hold.")
    sequences: int = Field(default=0, ge=0, description="Sequences that they hold.")
    tokens: int = Field(default=0, ge=0, description="Tokens of the samples.")
    trained_tokens: int = Field(default=0, ge=0, description="Labels that are learned.")
    lengths: tuple[int, ...] = Field(default=(0,) * BARS, description="Samples by length (`reporting.lengths`).")


Save = Callable[[Packed], None]
"""Keeps a state; what it speaks of is durable by then."""


def tokenise_block(
    rows: Path,
    store: SampleStore,
    rejects: GrowingFile,
    done: Packed,
    tokenizer: SampleTokenizer,
    parameters: PackParameters,
    save: Save,
) -> Packed:
    """Tokenise rows until the block is full or no row is left.

    Args:
        rows: file of `rows.kept_row`.
        store: takes the samples.
        rejects: takes the rows that are too long.
        done: how far it is.
        save: called every few seconds, and at the end, with how far it is then.
    """
    longest = parameters.max_sample_tokens or parameters.sequence_length
    saved = time.monotonic()
    try:
        for batch in _batches(read_lines(rows, done.offset)):
            samples = tokenizer.samples([exchange_of(tokenizer, parameters, line) for line, _ in batch])
            kept = [sample for sample in samples if len(sample.tokens) <= longest]
            store.append(kept)
            for (line, _), sample in zip(batch, samples, strict=True):
                if len(sample.tokens) > longest:
                    row = orjson.loads(line)
                    reject = {"uuid": row["uuid"], "generation": row["generation"], "reason": TOO_LONG}
                    rejects.append(json_line({**reject, "tokens": len(sample.tokens)}))
            done = done.model_copy(
                update={
                    "rows": done.rows + len(batch),
                    "offset": batch[-1][1],
                    "rejects_size": rejects.size,
                    "rejected": done.rejected + len(batch) - len(kept),
                    "waiting": done.waiting + len(kept),
                }
            )
            if done.waiting >= BLOCK_SAMPLES:
                break
            if time.monotonic() - saved > _SAVE_SECONDS:
                save(done)
                saved = time.monotonic()
    finally:
        # Also on SIGTERM, which arrives as an exception between any two statements: what was written beyond `done` is
        # cut off at the next start.
        save(done)
    return done


def pack_block(
    store: SampleStore, writer: SequenceWriter, layout: Layout, done: Packed, parameters: PackParameters
) -> Packed:
    """Pack the samples of the block that waits in the store, and write the sequences."""
    table = SampleTable.of(store)
    order = np.random.default_rng((parameters.seed, done.blocks))
    plan = plan_sequences(table.lengths, layout.sequence_length, SAMPLES_PER_SEQUENCE, order)
    writer.write(store, table, plan, layout)
    tokens = int(table.lengths.sum())
    return done.model_copy(
        update={
            "waiting": 0,
            "blocks": done.blocks + 1,
            "files": writer.files,
            "samples": done.samples + len(table.lengths),
            "sequences": done.sequences + len(plan),
            "tokens": done.tokens + tokens,
            "trained_tokens": done.trained_tokens + tokens - int(table.prompt_lengths.sum()),
            "lengths": tuple((np.array(done.lengths) + count_by_doubling(table.lengths)).tolist()),
        }
    )


def exchange_of(tokenizer: SampleTokenizer, parameters: PackParameters, line: bytes) -> Exchange:
    """Write the conversation of a row as text."""
    messages: list[Message] = orjson.loads(line)["messages"]
    if parameters.system_prompt and messages[0]["role"] != "system":
        messages.insert(0, Message(role="system", content=parameters.system_prompt))
    return render(tokenizer.template, messages)


def _batches(lines: Iterator[tuple[bytes, int]]) -> Iterator[list[tuple[bytes, int]]]:
    """Give lines by the batch: many short ones, few long ones."""
    batch: list[tuple[bytes, int]] = []
    size = 0
    for line, offset in lines:
        batch.append((line, offset))
        size += len(line)
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch

"""The rows of a pack stage, a block at a time: tokenised into the store, then packed and written.

Only a block's lengths are held in memory, so that it does not grow with the rows. A block is large enough that packing
it alone wastes nothing: its sequences are as full as those of all samples together.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import orjson
from pydantic import Field

from distill_runtime.contract import Model, PackParameters
from distill_runtime.packing.description import SAMPLES_PER_SEQUENCE
from distill_runtime.packing.plan import plan_sequences
from distill_runtime.packing.sample_store import SampleStore
from distill_runtime.packing.sequences import Layout, SampleTable, SequenceWriter
from distill_runtime.packing.tokenising import CONTROL_TOKENS, TEMPLATE_UNSUITABLE, TOO_LONG, Rejection, RowTokenizer
from distill_runtime.packing.tokens import Sample
from distill_runtime.reporting.lengths import BARS, count_by_doubling
from distill_runtime.storage.resumable import GrowingFile, json_line, read_lines

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
    template_unsuitable: int = Field(default=0, ge=0, description="Rows that the chat template does not write.")
    control_tokens: int = Field(default=0, ge=0, description="Rows with control tokens written out in them.")
    waiting: int = Field(default=0, ge=0, description="Samples of the current block, which are in the store.")
    blocks: int = Field(default=0, ge=0, description="Blocks written.")
    files: tuple[str, ...] = Field(default=(), description="Files that they are in.")
    samples: int = Field(default=0, ge=0, description="Samples that they hold.")
    sequences: int = Field(default=0, ge=0, description="Sequences that they hold.")
    tokens: int = Field(default=0, ge=0, description="Tokens of the samples.")
    trained_tokens: int = Field(default=0, ge=0, description="Labels that are learned.")
    lengths: tuple[int, ...] = Field(default=(0,) * BARS, description="Samples by length (`reporting.lengths`).")

    @property
    def rejects(self) -> dict[str, int]:
        """Rows that are rejected, by reason."""
        return {
            TOO_LONG: self.rejected,
            TEMPLATE_UNSUITABLE: self.template_unsuitable,
            CONTROL_TOKENS: self.control_tokens,
        }


Save = Callable[[Packed], None]
"""Keeps a state; what it speaks of is durable by then."""


def tokenise_block(
    rows: Path, store: SampleStore, rejects: GrowingFile, done: Packed, tokenizer: RowTokenizer, save: Save
) -> Packed:
    """Tokenise rows until the block is full or no row is left.

    Args:
        rows: file of `rows.kept_row`.
        store: takes the samples.
        rejects: takes the rows that are left out.
        done: how far it is.
        tokenizer: makes samples of rows.
        save: called every few seconds, and at the end, with how far it is then.
    """
    saved = time.monotonic()
    try:
        for batch in _batches(read_lines(rows, done.offset)):
            outcomes = tokenizer.samples([line for line, _ in batch])
            kept = [outcome for outcome in outcomes if isinstance(outcome, Sample)]
            store.append(kept)
            reasons: Counter[str] = Counter()
            for (line, _), outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Rejection):
                    rejects.append(_reject(line, outcome))
                    reasons[outcome.reason] += 1
            done = done.model_copy(
                update={
                    "rows": done.rows + len(batch),
                    "offset": batch[-1][1],
                    "rejects_size": rejects.size,
                    "rejected": done.rejected + reasons[TOO_LONG],
                    "template_unsuitable": done.template_unsuitable + reasons[TEMPLATE_UNSUITABLE],
                    "control_tokens": done.control_tokens + reasons[CONTROL_TOKENS],
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


def _reject(line: bytes, rejection: Rejection) -> bytes:
    row = orjson.loads(line)
    told = {"uuid": row["uuid"], "generation": row["generation"], "reason": rejection.reason, "why": rejection.why}
    return json_line(told if rejection.tokens is None else {**told, "tokens": rejection.tokens})


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

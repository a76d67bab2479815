"""The pack stage: tokenise the kept conversations and pack them into sequences for training.

The artifact:

* `sequences/`: the packed data set, for `datasets.load_from_disk` (see `packing.sequences`).
* `packing.json`: what a reader needs to know about it (see `packing.description`).
* `tokenizer/`: the tokenizer that made it.
* `rejects.jsonl`: the rows that are not in it, with reasons.
"""

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TypeVar

import orjson
from pydantic import Field

from distill_runtime.artifact import ArtifactWriter, open_artifact
from distill_runtime.contract import Model, PackContract, PackParameters, Result
from distill_runtime.errors import WrongInput
from distill_runtime.packing.chat import Exchange, Message, render
from distill_runtime.packing.description import (
    SAMPLES_PER_SEQUENCE,
    SEQUENCES_DIRECTORY,
    TOKENIZER_DIRECTORY,
    PackedDataset,
)
from distill_runtime.packing.plan import plan_sequences
from distill_runtime.packing.sample_store import SampleStore
from distill_runtime.packing.sequences import Layout, SampleTable, write_sequences
from distill_runtime.packing.tokens import SampleTokenizer
from distill_runtime.resumable import GrowingFile, json_line, load_checkpoint, read_lines, save_checkpoint
from distill_runtime.rows import KEPT_NAME, REJECTS_NAME
from distill_runtime.stage import StageContext

TOO_LONG = "tooLong"

_WORK_DIRECTORY = "work"
"""Tokenised samples and the checkpoint: there while the stage works, not in the artifact."""
_BATCH_ROWS = 256
_CHECKPOINT_SECONDS = 5.0

T = TypeVar("T")


class _Tokenised(Model):
    """How far tokenising is."""

    rows: int = Field(default=0, ge=0, description="Rows read.")
    offset: int = Field(default=0, ge=0, description="Where the next row starts, in bytes.")
    samples: int = Field(default=0, ge=0, description="Samples in the store.")
    rejects_size: int = Field(default=0, ge=0, description="Bytes of the list of rejected rows.")


def check(contract: PackContract, context: StageContext) -> None:
    """Check the input's digest, the tokenizer, its chat template on the first row, and the lengths."""
    directory, _ = open_artifact(context.volume, contract.input)
    tokenizer = _open_tokenizer(contract.pack, context)
    for line, _ in islice(read_lines(directory / KEPT_NAME), 1):
        tokenizer.samples([_exchange(tokenizer, contract.pack, line)])


def run(contract: PackContract, context: StageContext) -> Result:
    """Tokenise, plan, write."""
    parameters = contract.pack
    directory, manifest = open_artifact(context.volume, contract.input)
    tokenizer = _open_tokenizer(parameters, context)
    writer = ArtifactWriter(context.volume, contract)
    work = writer.directory / _WORK_DIRECTORY
    work.mkdir(exist_ok=True)
    rows = manifest.counts["kept"]
    context.reporter.update(total=rows, message="tokenising")

    done = load_checkpoint(work / "checkpoint.json", _Tokenised())
    with SampleStore(work, done.samples) as store:
        done = _tokenise(directory / KEPT_NAME, writer.directory, store, done, tokenizer, parameters, context)
        if not done.samples:
            raise WrongInput(
                "NothingToPack",
                f"none of the {rows} kept rows fits into {_longest_sample(parameters)} tokens; raise maxSampleTokens "
                "or sequenceLength",
            )
        table = SampleTable.of(store)
        context.reporter.update(message="planning")
        plan = plan_sequences(table.lengths, parameters.sequence_length, SAMPLES_PER_SEQUENCE, parameters.seed)
        context.reporter.update(unit="sequences", total=len(plan), done=0, message="writing packed sequences")
        layout = Layout(parameters.sequence_length, tokenizer.pad_token_id)
        write_sequences(
            writer.directory / SEQUENCES_DIRECTORY,
            store,
            table,
            plan,
            layout,
            lambda written: context.reporter.update(done=written),
        )
    tokens = int(table.lengths.sum())
    description = PackedDataset(
        sequences=len(plan),
        sequence_length=parameters.sequence_length,
        samples=done.samples,
        tokens=tokens,
        trained_tokens=tokens - int(table.prompt_lengths.sum()),
        pad_token_id=tokenizer.pad_token_id,
        tokenizer=tokenizer.fingerprint(),
    )
    description.write(writer.directory)
    tokenizer.copy_to(writer.directory / TOKENIZER_DIRECTORY)
    shutil.rmtree(work)
    counts = {
        "rows": done.rows,
        "samples": done.samples,
        f"rejected.{TOO_LONG}": done.rows - done.samples,
        "sequences": len(plan),
        "tokens": tokens,
        "trainedTokens": description.trained_tokens,
    }
    metrics = {"fill": tokens / (len(plan) * parameters.sequence_length)}
    context.reporter.update(message="making the artifact complete", counts=counts, metrics=metrics)
    reference = writer.finish(counts, metrics, [contract.input], ["tokenizers", "transformers", "pyarrow"])
    return Result(
        outcome="Succeeded",
        reason="Packed",
        message=f"packed {done.samples} samples of {tokens} tokens into {len(plan)} sequences of "
        f"{parameters.sequence_length} tokens, {100 * metrics['fill']:.2f} % full; {done.rows - done.samples} rows "
        "were too long",
        artifact=reference,
        counts=counts,
        metrics=metrics,
    )


def _open_tokenizer(parameters: PackParameters, context: StageContext) -> SampleTokenizer:
    longest = parameters.max_sample_tokens
    if longest is not None and longest > parameters.sequence_length:
        raise WrongInput(
            "SampleLongerThanSequence",
            f"maxSampleTokens {longest} is more than sequenceLength {parameters.sequence_length}, and a sample is "
            "never cut; lower the one or raise the other",
        )
    return SampleTokenizer(context.volume.resolve(parameters.tokenizer.uri))


def _longest_sample(parameters: PackParameters) -> int:
    return parameters.max_sample_tokens or parameters.sequence_length


def _tokenise(
    path: Path,
    output: Path,
    store: SampleStore,
    done: _Tokenised,
    tokenizer: SampleTokenizer,
    parameters: PackParameters,
    context: StageContext,
) -> _Tokenised:
    """Tokenise the rows that are left; give how far it is at the end, which is also saved."""
    longest = _longest_sample(parameters)
    with ExitStack() as stack:
        rejects = stack.enter_context(GrowingFile(output / REJECTS_NAME, done.rejects_size))

        def save() -> None:
            store.sync()
            rejects.sync()
            save_checkpoint(output / _WORK_DIRECTORY / "checkpoint.json", done)

        # Also on SIGTERM, which arrives as an exception between any two statements; `done` then speaks of a whole
        # batch, and what was written beyond it is cut off at the next start.
        stack.callback(save)
        saved = time.monotonic()
        context.reporter.update(done=done.rows)
        for batch in _batches(read_lines(path, done.offset), _BATCH_ROWS):
            exchanges = [_exchange(tokenizer, parameters, line) for line, _ in batch]
            samples = tokenizer.samples(exchanges)
            kept = [sample for sample in samples if len(sample.tokens) <= longest]
            store.append(kept)
            for (line, _), sample in zip(batch, samples, strict=True):
                if len(sample.tokens) > longest:
                    row = orjson.loads(line)
                    reject = {"uuid": row["uuid"], "generation": row["generation"], "reason": TOO_LONG}
                    rejects.append(json_line({**reject, "tokens": len(sample.tokens)}))
            done = _Tokenised(
                rows=done.rows + len(batch),
                offset=batch[-1][1],
                samples=done.samples + len(kept),
                rejects_size=rejects.size,
            )
            context.reporter.update(
                done=done.rows, counts={"samples": done.samples, f"rejected.{TOO_LONG}": done.rows - done.samples}
            )
            if time.monotonic() - saved > _CHECKPOINT_SECONDS:
                save()
                saved = time.monotonic()
    return done


def _exchange(tokenizer: SampleTokenizer, parameters: PackParameters, line: bytes) -> Exchange:
    messages: list[Message] = orjson.loads(line)["messages"]
    if parameters.system_prompt and messages[0]["role"] != "system":
        messages.insert(0, Message(role="system", content=parameters.system_prompt))
    return render(tokenizer.template, messages)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch

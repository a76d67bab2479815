"""The pack stage: tokenise the kept conversations and pack them into sequences for training.

The artifact:

* `sequences/`: the packed data set, for `datasets.load_from_disk` (see `packing.sequences`).
* `packing.json`: what a reader needs to know about it (see `packing.description`).
* `tokenizer/`: the tokenizer that made it.
* `rejects.jsonl`: the rows that are not in it, with reasons.
* `report.html`, `report.json`: the same for people (see `packing.summary`).

The counts close: rows = samples + every `rejected.…`.
"""

import hashlib
import shutil
from itertools import islice
from pathlib import Path

from distill_runtime.artifact import ArtifactWriter, open_artifact
from distill_runtime.contract import PackContract, PackParameters, Result
from distill_runtime.errors import WrongInput
from distill_runtime.packing.blocks import BLOCK_SAMPLES, TOO_LONG, Packed, exchange_of, pack_block, tokenise_block
from distill_runtime.packing.description import SEQUENCES_DIRECTORY, TOKENIZER_DIRECTORY, PackedDataset
from distill_runtime.packing.sample_store import SampleStore
from distill_runtime.packing.sequences import Layout, SequenceWriter
from distill_runtime.packing.summary import summarise
from distill_runtime.packing.tokens import SampleTokenizer
from distill_runtime.resumable import GrowingFile, load_checkpoint, read_lines, save_checkpoint
from distill_runtime.rows import KEPT_NAME, REJECTS_NAME
from distill_runtime.stage import StageContext

_WORK_DIRECTORY = "work"
"""Tokenised samples and the checkpoint: there while the stage works, not in the artifact."""


def check(contract: PackContract, context: StageContext) -> None:
    """Check the input's digest, the lengths, and the tokenizer with its chat template on the first row.

    Raises:
        WrongInput: where `run` would.
    """
    directory, _ = open_artifact(context.volume, contract.input)
    tokenizer = _open_tokenizer(contract.pack, context)
    tokenizer.samples(
        [exchange_of(tokenizer, contract.pack, line) for line, _ in islice(read_lines(directory / KEPT_NAME), 1)]
    )


def run(contract: PackContract, context: StageContext) -> Result:
    """Tokenise, pack, finish.

    Raises:
        WrongInput: SampleLongerThanSequence, NothingToPack, or as `SampleTokenizer` and `packing.chat.render`.
    """
    directory, manifest = open_artifact(context.volume, contract.input)
    tokenizer = _open_tokenizer(contract.pack, context)
    writer = ArtifactWriter(context.volume, contract)
    layout = Layout(contract.pack.sequence_length, tokenizer.pad_token_id)
    context.reporter.update(total=manifest.counts["kept"], message="tokenising and packing")
    done = _pack(directory / KEPT_NAME, writer.directory, layout, tokenizer, contract, context)

    description = PackedDataset(
        sequences=done.sequences,
        sequence_length=layout.sequence_length,
        samples=done.samples,
        tokens=done.tokens,
        trained_tokens=done.trained_tokens,
        pad_token_id=layout.pad_token_id,
        tokenizer=tokenizer.fingerprint(),
    )
    description.write(writer.directory)
    tokenizer.copy_to(writer.directory / TOKENIZER_DIRECTORY)
    shutil.rmtree(writer.directory / _WORK_DIRECTORY)
    counts = {
        "rows": done.rows,
        "samples": done.samples,
        f"rejected.{TOO_LONG}": done.rejected,
        "sequences": done.sequences,
        "tokens": done.tokens,
        "trainedTokens": done.trained_tokens,
    }
    metrics = {"fill": done.tokens / (done.sequences * layout.sequence_length)}
    summarise(contract.subject, counts, metrics, done.lengths, writer.directory / REJECTS_NAME).write(writer.directory)
    context.reporter.update(message="making the artifact complete", counts=counts, metrics=metrics)
    return Result(
        outcome="Succeeded",
        reason="Packed",
        message=f"packed {done.samples} samples of {done.tokens} tokens into {done.sequences} sequences of "
        f"{layout.sequence_length} tokens, {100 * metrics['fill']:.2f} % full; {done.rejected} rows were too long",
        artifact=writer.finish(counts, metrics, [contract.input], ["tokenizers", "tiktoken", "pyarrow"]),
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


def _pack(
    rows: Path,
    output: Path,
    layout: Layout,
    tokenizer: SampleTokenizer,
    contract: PackContract,
    context: StageContext,
) -> Packed:
    """Tokenise and pack all rows that are left, block by block; give the state at the end."""
    work = output / _WORK_DIRECTORY
    work.mkdir(exist_ok=True)
    checkpoint = work / "checkpoint.json"
    done = load_checkpoint(checkpoint, Packed())
    _report(done, context)
    sequences = SequenceWriter(output / SEQUENCES_DIRECTORY, layout, done.files)
    with GrowingFile(output / REJECTS_NAME, done.rejects_size) as rejects:
        while done.offset < rows.stat().st_size or done.waiting:
            with SampleStore(work, done.waiting) as store:

                def save(state: Packed, store: SampleStore = store) -> None:
                    store.sync()
                    rejects.sync()
                    save_checkpoint(checkpoint, state)
                    _report(state, context)

                if done.waiting < BLOCK_SAMPLES:
                    done = tokenise_block(rows, store, rejects, done, tokenizer, contract.pack, save)
                if done.waiting:
                    done = pack_block(store, sequences, done, contract.pack)
            save_checkpoint(checkpoint, done)
            _report(done, context)
    if not done.samples:
        raise WrongInput(
            "NothingToPack",
            f"none of the {done.rows} kept rows fits into "
            f"{contract.pack.max_sample_tokens or layout.sequence_length} tokens; raise maxSampleTokens or "
            "sequenceLength",
        )
    content = (contract.input.digest, contract.pack.model_dump_json(), tokenizer.fingerprint())
    sequences.finish(fingerprint=hashlib.sha256("".join(content).encode()).hexdigest()[:16])
    return done


def _report(done: Packed, context: StageContext) -> None:
    counts = {"samples": done.samples + done.waiting, f"rejected.{TOO_LONG}": done.rejected}
    context.reporter.update(done=done.rows, counts={**counts, "sequences": done.sequences, "tokens": done.tokens})

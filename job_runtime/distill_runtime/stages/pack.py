"""The pack stage: tokenise the kept conversations and pack them into sequences for training.

Or check and register sequences that somebody else has packed. The artifact:

* `sequences/`: the packed data set, for `datasets.load_from_disk` (see `packing.sequences`).
* `packing.json`: what a reader needs to know about it (see `packing.description`).
* `tokenizer/`: the tokenizer that made it; of registered sequences, if it is known.
* `rejects.jsonl`: the rows that are not in it, with reasons; of registered sequences none is left out.
* `report.html`, `report.json`: the same for people (see `packing.summary`).

Tokenised samples and the checkpoint are in `<output>.work` until the artifact is complete.

The counts close: rows = samples + every `rejected.…` (see `packing.tokenising`).
"""

import hashlib
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from distill_runtime.contract import (
    ArtifactReference,
    InputFingerprint,
    PackContract,
    PackedSource,
    PackParameters,
    Result,
)
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.rows import KEPT_NAME, REJECTS_NAME
from distill_runtime.packing.blocks import BLOCK_SAMPLES, Packed, pack_block, tokenise_block
from distill_runtime.packing.description import SEQUENCES_DIRECTORY, TOKENIZER_DIRECTORY, PackedDataset
from distill_runtime.packing.registering import fingerprint_packed, open_packed, register
from distill_runtime.packing.sample_store import SampleStore
from distill_runtime.packing.sequences import Layout, SequenceWriter, write_index
from distill_runtime.packing.summary import summarise
from distill_runtime.packing.tokenising import FIRST_ROWS, RowTokenizer, refuse_if_most_failed
from distill_runtime.packing.tokens import TOKENIZER_FILES, SampleTokenizer
from distill_runtime.process.stage import StageContext
from distill_runtime.storage.artifact import ArtifactWriter, open_artifact, versions_of
from distill_runtime.storage.fingerprints import fingerprint_artifact, fingerprint_directory
from distill_runtime.storage.inputs import discard_if_changed
from distill_runtime.storage.resumable import GrowingFile, load_checkpoint, read_lines, save_checkpoint

_CHECKPOINT_NAME = "checkpoint.json"


def fingerprints(contract: PackContract, context: StageContext) -> tuple[InputFingerprint, ...]:
    """Tell what the rows or sequences are, and the tokenizer.

    Raises:
        WrongInput: as `fingerprint_packed` and `fingerprint_directory`.
    """
    if isinstance(contract.input, PackedSource):
        read, tokenizer = fingerprint_packed(contract.input, context.volume), contract.input.tokenizer
    else:
        assert contract.pack is not None
        read, tokenizer = fingerprint_artifact("kept", contract.input), contract.pack.tokenizer
    if tokenizer is None:
        return (read,)
    return read, fingerprint_directory("tokenizer", tokenizer.uri, context.volume, TOKENIZER_FILES)


def check(contract: PackContract, context: StageContext) -> None:
    """Check the input's digest, the lengths, and the tokenizer with its chat template on the first rows.

    Of packed sequences, check the columns, the tokenizer and the first row.

    Raises:
        WrongInput: where `run` would.
    """
    if isinstance(contract.input, PackedSource):
        open_packed(contract.input, context.volume)
        return
    assert contract.pack is not None
    directory, _ = open_artifact(context.volume, contract.input)
    tokenizer = _open_tokenizer(contract.pack, context)
    _check_template(directory / KEPT_NAME, tokenizer, contract.pack)


def run(contract: PackContract, context: StageContext) -> Result:
    """Tokenise, pack, finish; or check, register, finish.

    Raises:
        WrongInput: SampleLongerThanSequence, NothingToPack, or as `SampleTokenizer`, `RowTokenizer`,
            `refuse_if_most_failed`, `open_packed` and `register`.
    """
    discard_if_changed(context.volume, contract, context.fingerprints)
    if isinstance(contract.input, PackedSource):
        return _register(contract, contract.input, context)
    assert contract.pack is not None
    return _pack_kept(contract, contract.input, contract.pack, context)


def _pack_kept(
    contract: PackContract, kept: ArtifactReference, parameters: PackParameters, context: StageContext
) -> Result:
    directory, manifest = open_artifact(context.volume, kept)
    tokenizer = _open_tokenizer(parameters, context)
    writer = ArtifactWriter(context.volume, contract, context.fingerprints)
    layout = Layout(parameters.sequence_length, tokenizer.pad_token_id)
    context.reporter.update(total=manifest.counts["kept"], message="tokenising and packing")
    rows = _check_template(directory / KEPT_NAME, tokenizer, parameters)
    done = _pack(directory / KEPT_NAME, writer, layout, rows, parameters, context)
    content = (kept.digest, parameters.model_dump_json(), tokenizer.fingerprint())
    description = PackedDataset(
        sequences=done.sequences,
        sequence_length=layout.sequence_length,
        samples=done.samples,
        tokens=done.tokens,
        trained_tokens=done.trained_tokens,
        pad_token_id=layout.pad_token_id,
        end_token_id=tokenizer.end_token_id,
        tokenizer=tokenizer.fingerprint(),
    )
    made = _Made(
        files=done.files,
        fingerprint=hashlib.sha256("".join(content).encode()).hexdigest(),
        description=description,
        tokenizer=tokenizer,
        counts={
            "rows": done.rows,
            "samples": done.samples,
            **_rejected(done),
            "sequences": done.sequences,
            "tokens": done.tokens,
            "trainedTokens": done.trained_tokens,
        },
        lengths=done.lengths,
        rejects=writer.directory / REJECTS_NAME,
        reason="Packed",
        message=f"packed {done.samples} samples of {done.tokens} tokens into {done.sequences} sequences of "
        f"{layout.sequence_length} tokens, {100 * description.fill:.2f} % full" + _left_out(done),
        inputs=(kept,),
        packages=("tokenizers", "tiktoken", "pyarrow"),
    )
    return _finish(contract, writer, made, context)


def _register(contract: PackContract, source: PackedSource, context: StageContext) -> Result:
    packed = open_packed(source, context.volume)
    writer = ArtifactWriter(context.volume, contract, context.fingerprints)
    writer.work.mkdir(exist_ok=True)
    context.reporter.update(total=packed.count(), unit="sequences", message="checking")
    done = register(packed, writer.directory, writer.work / _CHECKPOINT_NAME, context.reporter)
    tokenizer = packed.tokenizer
    description = PackedDataset(
        sequences=done.sequences,
        sequence_length=packed.sequence_length,
        samples=done.samples,
        tokens=done.tokens,
        trained_tokens=done.trained_tokens,
        pad_token_id=tokenizer.pad_token_id if tokenizer and done.pad_token_id is None else done.pad_token_id,
        end_token_id=packed.end_token_id,
        tokenizer=tokenizer.fingerprint() if tokenizer else None,
        largest_token_id=None if tokenizer else done.largest_token_id,
    )
    made = _Made(
        files=done.files,
        fingerprint=done.fingerprint,
        description=description,
        tokenizer=tokenizer,
        counts={
            "sequences": done.sequences,
            "samples": done.samples,
            "tokens": done.tokens,
            "trainedTokens": done.trained_tokens,
            "paddingLabels": done.padding_labels,
        },
        lengths=done.lengths,
        rejects=None,
        reason="Registered",
        message=f"checked {done.sequences} sequences of {packed.sequence_length} tokens, which hold {done.samples} "
        f"samples of {done.tokens} tokens and are {100 * description.fill:.2f} % full"
        + (f"; {done.padding_labels} labels teach the pad token" if done.padding_labels else "")
        + ("" if tokenizer else "; of which tokenizer is not known"),
        inputs=(),
        packages=("pyarrow",),
    )
    return _finish(contract, writer, made, context)


@dataclass(frozen=True)
class _Made:
    """Sequences that are written, and what is to be said of them."""

    files: tuple[str, ...]
    fingerprint: str
    description: PackedDataset
    tokenizer: SampleTokenizer | None
    counts: dict[str, int]
    lengths: tuple[int, ...]
    rejects: Path | None
    reason: str
    message: str
    inputs: tuple[ArtifactReference, ...]
    packages: tuple[str, ...]


def _finish(contract: PackContract, writer: ArtifactWriter, made: _Made, context: StageContext) -> Result:
    """Write what goes beside the sequences, and make the artifact complete."""
    write_index(writer.directory / SEQUENCES_DIRECTORY, made.files, made.fingerprint[:16])
    made.description.write(writer.directory)
    if made.tokenizer:
        made.tokenizer.copy_to(writer.directory / TOKENIZER_DIRECTORY)
    metrics = {"fill": made.description.fill}
    summarise(contract.subject, made.counts, metrics, made.lengths, made.rejects).write(writer.directory)
    context.reporter.update(message="making the artifact complete", counts=made.counts, metrics=metrics)
    return Result(
        outcome="Succeeded",
        reason=made.reason,
        message=made.message,
        artifact=writer.finish(made.counts, metrics, made.inputs, versions_of(made.packages)),
        counts=made.counts,
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


def _check_template(rows: Path, tokenizer: SampleTokenizer, parameters: PackParameters) -> RowTokenizer:
    row_tokenizer = RowTokenizer(tokenizer, parameters)
    row_tokenizer.check_first([line for line, _ in islice(read_lines(rows), FIRST_ROWS)])
    return row_tokenizer


def _pack(
    rows: Path,
    writer: ArtifactWriter,
    layout: Layout,
    tokenizer: RowTokenizer,
    parameters: PackParameters,
    context: StageContext,
) -> Packed:
    """Tokenise and pack all rows that are left, block by block; give the state at the end."""
    writer.work.mkdir(exist_ok=True)
    checkpoint = writer.work / _CHECKPOINT_NAME
    done = load_checkpoint(checkpoint, Packed())
    _report(done, context)
    sequences = SequenceWriter(writer.directory / SEQUENCES_DIRECTORY, done.files)
    with GrowingFile(writer.directory / REJECTS_NAME, done.rejects_size) as rejects:
        while done.offset < rows.stat().st_size or done.waiting:
            with SampleStore(writer.work, done.waiting) as store:

                def save(state: Packed, store: SampleStore = store) -> None:
                    store.sync()
                    rejects.sync()
                    save_checkpoint(checkpoint, state)
                    _report(state, context)

                if done.waiting < BLOCK_SAMPLES:
                    done = tokenise_block(rows, store, rejects, done, tokenizer, save)
                if done.waiting:
                    done = pack_block(store, sequences, layout, done, parameters)
            save_checkpoint(checkpoint, done)
            _report(done, context)
    try:
        _refuse(done, parameters, context.volume.relative(writer.directory / REJECTS_NAME))
    except WrongInput:
        checkpoint.unlink()  # whoever runs it again has corrected something, and all is to be tokenised anew
        raise
    return done


def _refuse(done: Packed, parameters: PackParameters, rejects: str) -> None:
    refuse_if_most_failed(done.rows, done.rejects, rejects)
    if not done.samples:
        raise WrongInput(
            "NothingToPack",
            f"none of the {done.rows} kept rows fits into "
            f"{parameters.max_sample_tokens or parameters.sequence_length} tokens{_left_out(done)}; raise "
            "maxSampleTokens or sequenceLength",
        )


def _rejected(done: Packed) -> dict[str, int]:
    return {f"rejected.{reason}": number for reason, number in done.rejects.items()}


def _left_out(done: Packed) -> str:
    return "".join(f"; {number} rows are rejected as {reason}" for reason, number in done.rejects.items() if number)


def _report(done: Packed, context: StageContext) -> None:
    counts = {"samples": done.samples + done.waiting, **_rejected(done)}
    context.reporter.update(done=done.rows, counts={**counts, "sequences": done.sequences, "tokens": done.tokens})

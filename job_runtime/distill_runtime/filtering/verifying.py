"""Every generation gets its verdict: the right ones are written down as rows, the others as rejects with a reason."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import Field

from distill_runtime.contract import FilterParameters, Model
from distill_runtime.cpus import available_cpus
from distill_runtime.filtering.contamination import CONTAMINATED, Contamination
from distill_runtime.filtering.selection import KEY, key_of
from distill_runtime.progress import Reporter
from distill_runtime.reasoning import joined
from distill_runtime.resumable import GrowingFile, json_line, load_checkpoint, read_lines, save_checkpoint
from distill_runtime.rows import kept_row
from distill_runtime.verification import Question, Verdict, open_verifier, verify_all

ACCEPTED = "accepted"
FAILED = "failed"
TRUNCATED = "truncated"

_LENGTH = "length"
"""The finish_reason of an answer that ran into its limit of tokens (OpenAI's chat completions API)."""
_FOUND_CHARACTERS = 200
"""Of what was compared, which for some verifiers is the whole text."""
_CHECKPOINT_SECONDS = 5.0
_REPORT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Files:
    """Where the outcomes go.

    Attributes:
        accepted: right generations, as `rows.kept_row`.
        keys: for each of them, what the selection needs to know (`selection.KEY`).
        rejects: all other generations, each with its reason.
        checkpoint: how far it is.
    """

    accepted: Path
    keys: Path
    rejects: Path
    checkpoint: Path


class Verified(Model):
    """How far verifying is."""

    shard: int = Field(default=0, ge=0, description="Shard that is being read.")
    offset: int = Field(default=0, ge=0, description="Where its next line starts, in bytes.")
    accepted_size: int = Field(default=0, ge=0, description="Bytes of the accepted rows.")
    rejects_size: int = Field(default=0, ge=0, description="Bytes of the rejects.")
    counts: dict[str, int] = Field(default_factory=dict, description="Generations by what became of them.")


@dataclass(frozen=True, slots=True)
class _Generation:
    """A line of a shard, and where the next one starts."""

    record: Mapping[str, Any]
    rejected: str | None
    """Why it is rejected unseen, if it is."""
    benchmark: str | None
    """What its prompt is taken from, if it is."""
    shard: int
    offset: int


def verify_generations(
    paths: tuple[Path, ...],
    files: Files,
    parameters: FilterParameters,
    contamination: Contamination | None,
    reporter: Reporter,
) -> Verified:
    """Verify the generations that are left, and save how far it is now and then and whatever ends it.

    Returns:
        The state at the end, in which every generation is counted once.
    """
    verifier = open_verifier(parameters)
    begun = load_checkpoint(files.checkpoint, Verified())
    counts = Counter(begun.counts)
    with ExitStack() as stack:
        accepted = stack.enter_context(GrowingFile(files.accepted, begun.accepted_size))
        keys = stack.enter_context(GrowingFile(files.keys, counts[ACCEPTED] * KEY.itemsize))
        rejects = stack.enter_context(GrowingFile(files.rejects, begun.rejects_size))
        # One assignment a row; a model a row would take as long as the easy rows themselves.
        done = (begun.shard, begun.offset, begun.accepted_size, begun.rejects_size, begun.counts)

        def state() -> Verified:
            shard, offset, accepted_size, rejects_size, so_far = done
            return Verified(
                shard=shard, offset=offset, accepted_size=accepted_size, rejects_size=rejects_size, counts=so_far
            )

        def save() -> None:
            for file in (accepted, keys, rejects):
                file.sync()
            save_checkpoint(files.checkpoint, state())

        # Also on SIGTERM, which arrives as an exception between any two statements: what was written beyond `done`
        # is cut off at the next start.
        stack.callback(save)
        questions = (_question(generation) for generation in _generations(paths, begun, parameters, contamination))
        results = verify_all(verifier, questions, parameters.verify_timeout_seconds, available_cpus())
        stack.enter_context(closing(results))
        _report(reporter, counts)
        saved = reported = time.monotonic()
        for generation, verdict in results:
            reason = generation.rejected or (ACCEPTED if verdict.correct else verdict.reason)
            counts[reason] += 1
            if reason == ACCEPTED:
                row, key = _row(generation.record)
                accepted.append(row)
                keys.append(key)
            else:
                rejects.append(_reject(generation, reason, verdict))
            done = (generation.shard, generation.offset, accepted.size, rejects.size, dict(counts))
            now = time.monotonic()
            if now - reported > _REPORT_SECONDS:
                _report(reporter, counts)
                reported = now
            if now - saved > _CHECKPOINT_SECONDS:
                save()
                saved = now
        _report(reporter, counts)
        return state()


def _generations(
    paths: tuple[Path, ...], begun: Verified, parameters: FilterParameters, contamination: Contamination | None
) -> Iterator[_Generation]:
    for shard in range(begun.shard, len(paths)):
        for line, offset in read_lines(paths[shard], begun.offset if shard == begun.shard else 0):
            record = orjson.loads(line)
            rejected = benchmark = None
            if contamination is not None:
                benchmark = contamination.find(record["prompt"])
            if benchmark is not None:
                rejected = CONTAMINATED
            elif record["failure"]:
                rejected = FAILED
            elif record["finish_reason"] == _LENGTH and parameters.on_truncated == "drop":
                rejected = TRUNCATED
            yield _Generation(record, rejected, benchmark, shard, offset)


def _question(generation: _Generation) -> Question[_Generation]:
    record = generation.record
    text = None if generation.rejected else _text(record)
    return Question(generation, record["answer"], text)


def _text(record: Mapping[str, Any]) -> str:
    return joined(record["reasoning"], record["content"])


def _row(record: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Give the row of an accepted generation, and its key."""
    text = _text(record)
    uuid, generation = record["uuid"], record["generation"]
    row = kept_row(uuid, generation, record["prompt"], record["answer"], text, record.get("source"))
    return json_line(row), key_of(uuid, generation, text, record["completion_tokens"])


def _reject(generation: _Generation, reason: str, verdict: Verdict) -> bytes:
    """Say why a generation is rejected; what it says is in the generate stage's artifact."""
    record = generation.record
    return json_line(
        {
            "uuid": record["uuid"],
            "generation": record["generation"],
            "reason": reason,
            "tokens": record["completion_tokens"],
            "answer": record["answer"],
            "source": record.get("source"),
            "found": verdict.answer and verdict.answer[:_FOUND_CHARACTERS],
            "failure": record["failure"],
            "benchmark": generation.benchmark,
        }
    )


def _report(reporter: Reporter, counts: Mapping[str, int]) -> None:
    verified = sum(counts.values())
    accepted = counts.get(ACCEPTED, 0)
    reporter.update(
        done=verified,
        counts={
            ACCEPTED: accepted,
            **{f"rejected.{reason}": number for reason, number in counts.items() if reason != ACCEPTED},
        },
        metrics={"acceptanceRate": accepted / verified} if verified else {},
    )

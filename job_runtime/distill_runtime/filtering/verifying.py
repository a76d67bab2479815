"""Every generation gets its verdict: the right ones are written down as rows, the others as rejects with a reason."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from distill_runtime.contract import FilterParameters, Model
from distill_runtime.filtering.contamination import CONTAMINATED, Contamination
from distill_runtime.filtering.doubts import Doubt, doubtful_line, is_doubtful
from distill_runtime.filtering.generations import Generation, Generations, Place
from distill_runtime.filtering.majority import Majorities
from distill_runtime.filtering.outcomes import accepted_row, rejected_row
from distill_runtime.filtering.reasons import ACCEPTED, TO_BE_JUDGED, rejected_unseen
from distill_runtime.filtering.selection import KEY
from distill_runtime.process.progress import Reporter
from distill_runtime.storage.resumable import GrowingFile, load_checkpoint, save_checkpoint
from distill_runtime.verification import Question, open_verifier, verifier_workers, verify_all

_CHECKPOINT_SECONDS = 5.0
_REPORT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Files:
    """Where the outcomes go.

    Attributes:
        accepted: right generations, as `rows.kept_row`.
        keys: for each of them, what the selection needs to know (`selection.KEY`).
        rejects: all other generations, each with its reason.
        doubts: those that a judge is yet to be asked about, if there is one.
        checkpoint: how far it is.
    """

    accepted: Path
    keys: Path
    rejects: Path
    doubts: Path
    checkpoint: Path


class Verified(Model):
    """How far verifying is."""

    fingerprint: str = Field(default="", description="Of the generations that are read (see `Generations`).")
    shard: int = Field(default=0, ge=0, description="Shard, or file of rows, that is being read.")
    offset: int = Field(default=0, ge=0, description="Where its next generation is.")
    rows: int = Field(default=0, ge=0, description="Rows that were begun, if there are rows.")
    accepted_size: int = Field(default=0, ge=0, description="Bytes of the accepted rows.")
    rejects_size: int = Field(default=0, ge=0, description="Bytes of the rejects.")
    doubts_size: int = Field(default=0, ge=0, description="Bytes of what a judge is yet to be asked about.")
    counts: dict[str, int] = Field(default_factory=dict, description="Generations by what became of them.")


class _Candidate(NamedTuple):
    """A generation, and what is known of it before its answer is compared."""

    generation: Generation
    rejected: str | None
    """Why it is rejected unseen, if it is."""
    benchmark: str | None
    """What its prompt is taken from, if it is."""


def verify_generations(
    generations: Generations,
    files: Files,
    parameters: FilterParameters,
    contamination: Contamination | None,
    majorities: Majorities | None,
    reporter: Reporter,
) -> Verified:
    """Verify the generations that are left, and save how far it is now and then and whatever ends it.

    If they are others than those that it began with, it begins again.

    Returns:
        The state at the end, in which every generation is counted once.
    """
    verifier = open_verifier(parameters)
    start = Verified(fingerprint=generations.fingerprint)
    begun = load_checkpoint(files.checkpoint, start)
    if begun.fingerprint != start.fingerprint:
        begun = start
    counts = Counter(begun.counts)
    with ExitStack() as stack:
        accepted = stack.enter_context(GrowingFile(files.accepted, begun.accepted_size))
        keys = stack.enter_context(GrowingFile(files.keys, counts[ACCEPTED] * KEY.itemsize))
        rejects = stack.enter_context(GrowingFile(files.rejects, begun.rejects_size))
        doubts = stack.enter_context(GrowingFile(files.doubts, begun.doubts_size))
        # One assignment a row; a model a row would take as long as the easy rows themselves.
        place = Place(begun.shard, begun.offset, begun.rows)
        done = (place, begun.accepted_size, begun.rejects_size, begun.doubts_size, begun.counts)

        def state() -> Verified:
            place, accepted_size, rejects_size, doubts_size, so_far = done
            return Verified(
                fingerprint=start.fingerprint,
                shard=place.part,
                offset=place.offset,
                rows=place.rows,
                accepted_size=accepted_size,
                rejects_size=rejects_size,
                doubts_size=doubts_size,
                counts=so_far,
            )

        def save() -> None:
            for file in (accepted, keys, rejects, doubts):
                file.sync()
            save_checkpoint(files.checkpoint, state())

        # Also on SIGTERM, which arrives as an exception between any two statements: what was written beyond `done`
        # is cut off at the next start.
        stack.callback(save)
        questions = (
            _question(candidate) for candidate in _candidates(generations, place, parameters, contamination, majorities)
        )
        results = verify_all(verifier, questions, parameters.verify_timeout_seconds, verifier_workers())
        stack.enter_context(closing(results))
        _report(reporter, state())
        saved = reported = time.monotonic()
        for candidate, verdict in results:
            generation = candidate.generation
            reason = candidate.rejected or (ACCEPTED if verdict.correct else verdict.reason)
            if reason == ACCEPTED:
                row, key = accepted_row(generation, "rules")
                accepted.append(row)
                keys.append(key)
            elif parameters.judge is not None and is_doubtful(generation, reason):
                doubts.append(doubtful_line(Doubt(generation, reason, verdict.answer)))
                reason = TO_BE_JUDGED
            else:
                rejects.append(rejected_row(generation, reason, verdict.answer, candidate.benchmark, "rules"))
            counts[reason] += 1
            done = (generation.next, accepted.size, rejects.size, doubts.size, dict(counts))
            now = time.monotonic()
            if now - reported > _REPORT_SECONDS:
                _report(reporter, state())
                reported = now
            if now - saved > _CHECKPOINT_SECONDS:
                save()
                saved = now
        _report(reporter, state())
        return state()


def _candidates(
    generations: Generations,
    place: Place,
    parameters: FilterParameters,
    contamination: Contamination | None,
    majorities: Majorities | None,
) -> Iterator[_Candidate]:
    for given in generations.read(place):
        generation = given if majorities is None else majorities.judge_by(given)
        benchmark = None if contamination is None else contamination.find(generation.prompt)
        if benchmark is not None:
            rejected: str | None = CONTAMINATED
        else:
            rejected = rejected_unseen(generation.unusable, generation.truncated, parameters) or generation.recorded
        yield _Candidate(generation, rejected, benchmark)


def _question(candidate: _Candidate) -> Question[_Candidate]:
    generation = candidate.generation
    return Question(candidate, generation.answer, None if candidate.rejected else generation.text)


def _report(reporter: Reporter, done: Verified) -> None:
    verified = sum(done.counts.values())
    accepted = done.counts.get(ACCEPTED, 0)
    reporter.update(
        done=done.rows or verified,
        counts={
            ACCEPTED: accepted,
            **{
                reason if reason in (ACCEPTED, TO_BE_JUDGED) else f"rejected.{reason}": number
                for reason, number in done.counts.items()
            },
        },
        metrics={"acceptanceRate": accepted / verified} if verified else {},
    )

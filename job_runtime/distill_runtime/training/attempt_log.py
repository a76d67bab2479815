"""The log of attempts: on which nodes each ran, from which step to which, why it ended, and what that cost.

attempts.jsonl has a line an attempt, and only the first node writes it: when an attempt begins, and when the run is
done. Whoever is killed writes nothing, so a line is made complete by the attempt after it, from what there is: the
training log, and the note that each node leaves in its directory of logs, when it begins and when it ends, if it can.
"""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError

from distill_runtime.contract import FailureClass, Model
from distill_runtime.contract.stages import NODE_VARIABLE
from distill_runtime.foundation.errors import StageError, Terminated
from distill_runtime.storage.artifact import write_durably
from distill_runtime.training.causes import Cause
from distill_runtime.training.training_log import StepRecord

logger = logging.getLogger(__name__)

_NOTE: Final = "node.json"
NO_LAST_WORD: Final = "NoLastWord"
"""Of an attempt whose Pods were all killed before they could say anything."""
FINAL_REASON: Final = "Trained"
"""Of the attempt in which the last step was saved."""


class AttemptRecord(Model):
    """A line of attempts.jsonl. What is not known yet, or was not recorded by an earlier version, is absent."""

    attempt: int
    resumed_from_step: int = Field(description="Steps that were done and saved when it began.")
    passed_over: str | None = Field(default=None, description="Which later checkpoint was not whole, and why.")
    to_step: int | None = Field(default=None, description="The last step that it did.")
    lost_steps: int = Field(default=0, description="Steps of it that had to be done again.")
    nodes: tuple[str, ...] = Field(default=(), description="Where it ran, by name.")
    began_at: datetime | None = None
    ended_at: datetime | None = Field(default=None, description="Or the last sign of life, if it was killed.")
    reason: str | None = Field(default=None, description="Why it ended, in one word.")
    failure_class: FailureClass | None = None
    message: str | None = None
    essence: str | None = Field(default=None, description="The same for the same failure.")
    training_seconds: float | None = Field(default=None, description="In which it did steps.")
    lost_seconds: float = Field(default=0, description="Of these, for steps that had to be done again.")

    @property
    def stepless(self) -> bool:
        """Whether it ended before a first new step."""
        return self.to_step == self.resumed_from_step

    @property
    def seconds(self) -> float:
        """How long it held its nodes, as far as that is known."""
        if self.began_at is None or self.ended_at is None:
            return 0.0
        return (self.ended_at - self.began_at).total_seconds()


class NodeNote(Model):
    """What a node says of an attempt."""

    node: str
    began_at: datetime
    ended_at: datetime | None = None
    reason: str | None = None
    failure_class: FailureClass | None = None
    message: str | None = None
    essence: str | None = None


class NoteWriter:
    """Writes this node's note: begun, and ended when it is known how."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _NOTE
        self._note = NodeNote(node=this_node(), began_at=_now())
        write_durably(self._path, _line(self._note))

    def ended(
        self, reason: str | None, message: str, failure_class: FailureClass | None, essence: str | None = None
    ) -> None:
        """Say why it ends; the first word counts. On a full volume there is none."""
        if self._note.ended_at is not None:
            return
        self._note = self._note.model_copy(
            update={
                "ended_at": _now(),
                "reason": reason,
                "message": message,
                "failure_class": failure_class,
                "essence": essence,
            }
        )
        try:
            write_durably(self._path, _line(self._note))
        except OSError as error:
            logger.warning("cannot note why this attempt ended: %s", error)

    def failed(self, cause: Cause) -> None:
        """Say why its workers failed."""
        self.ended(cause.reason, cause.message, cause.failure_class, cause.essence)


@contextmanager
def noted(directory: Path) -> Iterator[NoteWriter]:
    """Note that this node takes part in an attempt, and how that ends."""
    note = NoteWriter(directory)
    try:
        yield note
    except StageError as error:
        note.ended(error.reason, error.message, error.failure_class)
        raise
    except Terminated:
        note.ended("Terminated", "told to stop by SIGTERM", "infrastructure")
        raise
    except Exception as error:
        note.ended("UnexpectedError", f"{type(error).__name__}: {error}", "unknown")
        raise
    note.ended(None, "", None)


def this_node() -> str:
    """Name the machine: what Kubernetes calls it, or else what it calls itself."""
    return os.environ.get(NODE_VARIABLE) or socket.gethostname()


def read_attempts(path: Path) -> list[AttemptRecord]:
    """Read the log of attempts; what a later version has written of them besides is left out."""
    if not path.exists():
        return []
    return [AttemptRecord.model_validate_json(line, extra="ignore") for line in path.read_bytes().splitlines()]


def begin_attempt(
    path: Path, logs: Path, begun: AttemptRecord, kept: Sequence[StepRecord], lost: Sequence[StepRecord]
) -> list[AttemptRecord]:
    """Make the last attempt's line complete, add one for this attempt, and give all.

    Args:
        path: the log of attempts.
        logs: the directory in which each node of each attempt has one.
        begun: its line so far.
        kept: the training log as it goes on.
        lost: what was in it besides, and is done again.
    """
    before = read_attempts(path)
    if before and before[-1].ended_at is None:
        before[-1] = _completed(before[-1], logs, kept, lost)
    records = [*before, begun.model_copy(update={"began_at": _now()})]
    _write(path, records)
    return records


def end_run(path: Path, attempt: AttemptRecord, steps: Sequence[StepRecord]) -> list[AttemptRecord]:
    """Make the line of the attempt complete in which the run was done, and give all.

    Args:
        attempt: its line as it began.
        steps: the whole training log.
    """
    done = [record for record in steps if record.step > attempt.resumed_from_step]
    ended = attempt.model_copy(
        update={
            "to_step": done[-1].step if done else attempt.resumed_from_step,
            "nodes": attempt.nodes or (this_node(),),
            "ended_at": _now(),
            "reason": FINAL_REASON,
            "training_seconds": _seconds(done),
        }
    )
    records = [*read_attempts(path)[:-1], ended]
    _write(path, records)
    return records


def nodes_of(logs: Path, attempt: int) -> tuple[str, ...]:
    """Name the nodes that an attempt has run on."""
    return tuple(sorted({note.node for _, note in _notes(logs, attempt)}))


def _completed(
    record: AttemptRecord, logs: Path, kept: Sequence[StepRecord], lost: Sequence[StepRecord]
) -> AttemptRecord:
    """Put together what is known of an attempt that has ended without completing the run."""
    notes = list(_notes(logs, record.attempt))
    told = min((note for _, note in notes if note.reason is not None), key=_telling, default=None)
    steps = [step for step in (*kept, *lost) if step.step > record.resumed_from_step]
    ends = [note.ended_at or _last_sign_of_life(directory) for directory, note in notes]
    return record.model_copy(
        update={
            "to_step": max((step.step for step in steps), default=record.resumed_from_step),
            "lost_steps": record.lost_steps + len(lost),
            "nodes": nodes_of(logs, record.attempt),
            "ended_at": max(ends, default=None),
            "reason": told.reason if told is not None else NO_LAST_WORD,
            "failure_class": (told.failure_class if told is not None else None) or "unknown",
            "message": told.message if told is not None else None,
            "essence": told.essence if told is not None else None,
            "training_seconds": _seconds(steps),
            "lost_seconds": record.lost_seconds + _seconds(lost),
        }
    )


def _notes(logs: Path, attempt: int) -> Iterator[tuple[Path, NodeNote]]:
    """Read the notes of an attempt, those that can be read."""
    for path in sorted(logs.glob(f"attempt-{attempt}-*/{_NOTE}")):
        try:
            yield path.parent, NodeNote.model_validate_json(path.read_bytes())
        except ValidationError as error:
            logger.warning("%s is not read: %s", path, error)


def _telling(note: NodeNote) -> tuple[bool, datetime]:
    """Order notes by how much they explain: who was told to stop comes last, else the first that ended."""
    return note.reason == "Terminated", note.ended_at or note.began_at


def _last_sign_of_life(directory: Path) -> datetime:
    return datetime.fromtimestamp(max(path.stat().st_mtime for path in directory.iterdir()), UTC)


def _seconds(steps: Sequence[StepRecord]) -> float:
    return round(sum(step.seconds for step in steps), 1)


def _write(path: Path, records: Sequence[AttemptRecord]) -> None:
    write_durably(path, b"".join(map(_line, records)))


def _line(model: Model) -> bytes:
    return model.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)

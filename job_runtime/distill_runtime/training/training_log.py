"""The training log: a JSON line a step, written by one worker, read by the stage, part of the artifact."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pydantic import Field, ValidationError

from distill_runtime.contract import Model
from distill_runtime.storage.artifact import write_durably


class StepRecord(Model):
    """What a step did."""

    step: int = Field(ge=1, description="Counted from 1 over all epochs.")
    epoch: int = Field(ge=1)
    loss: float = Field(description="Mean cross entropy in nats of the labelled tokens of the batch.")
    learning_rate: float
    gradient_norm: float | None = Field(default=None, description="Global norm before clipping.")
    overflow: bool = Field(
        default=False, description="A gradient was not finite, so the weights were left as they were."
    )
    seconds: float = Field(ge=0, description="Since the end of the step before.")


class TrainingLogWriter:
    """Appends records; each is handed to the operating system at once, so that killing the process loses none.

    Losing the node may lose those since `sync`.
    """

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def write(self, record: StepRecord) -> None:
        """Append a record."""
        self._file.write(record.model_dump_json(by_alias=True, exclude_none=True) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Make durable what was written: to be called before a checkpoint says that these steps are done."""
        os.fsync(self._file.fileno())


class TrainingLogFollower:
    """Reads a log that grows in another process, perhaps on another node."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read_new(self) -> Iterator[StepRecord]:
        """Give the records that were completed since the last call."""
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._offset:
                    self._offset = 0  # another attempt has cut it back
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            yield StepRecord.model_validate_json(line)


def read_log(path: Path) -> list[StepRecord]:
    """Read the whole log of a run that writes no more to it, or all that there is so far."""
    return list(TrainingLogFollower(path).read_new())


def cut_log(path: Path, last_step: int) -> tuple[list[StepRecord], list[StepRecord]]:
    """Cut a log back to the step that training resumes from, dropping a torn last line as well.

    Returns:
        The steps that stay, and those that were done after `last_step`, as far as the log knows, and are done again.
    """
    if not path.exists():
        return [], []
    lines = bytearray()
    kept: list[StepRecord] = []
    lost: list[StepRecord] = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            record = StepRecord.model_validate_json(line)
        except ValidationError:
            continue
        if record.step <= last_step:
            lines += line
            kept.append(record)
        else:
            lost.append(record)
    write_durably(path, lines)
    return kept, lost

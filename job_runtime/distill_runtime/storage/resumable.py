"""What a stage needs to go on where it was killed: lines read from an offset, files cut back to a size, a checkpoint.

A checkpoint says how far the input was read and how long each output was at that moment. A restarted stage cuts its
outputs back to those lengths and reads on from there, so nothing is lost and nothing is written twice.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import orjson

from distill_runtime.contract import Model
from distill_runtime.storage.artifact import write_durably

State = TypeVar("State", bound=Model)


def read_lines(path: Path, offset: int = 0) -> Iterator[tuple[bytes, int]]:
    """Read lines from a byte offset on; each comes with the offset at which the next one starts."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            offset += len(line)
            yield line, offset


class GrowingFile:
    """A file that is only ever written at its end.

    Args:
        path: the file; made if need be.
        size: bytes to keep of what is there.

    Attributes:
        size: bytes so far.
    """

    def __init__(self, path: Path, size: int) -> None:
        path.touch()
        self._file = path.open("r+b")
        self._file.truncate(size)
        self._file.seek(size)
        self.size = size

    def __enter__(self) -> "GrowingFile":
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def append(self, data: bytes) -> None:
        """Write something more."""
        self._file.write(data)
        self.size += len(data)

    def sync(self) -> None:
        """Make durable what was written."""
        self._file.flush()
        os.fsync(self._file.fileno())


def json_line(row: object) -> bytes:
    """Write a row, which is a mapping or a dataclass, as a line of JSON."""
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def load_checkpoint(path: Path, start: State) -> State:
    """Give the state that was saved last, or `start` if none was."""
    try:
        return type(start).model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return start


def save_checkpoint(path: Path, state: Model) -> None:
    """Replace the saved state; call it when the outputs that it speaks of are durable."""
    write_durably(path, state.model_dump_json(by_alias=True).encode())

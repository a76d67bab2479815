"""What a process has left in its log, which may have gigabytes: its beginning, its end, and its last exception."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HEAD_BYTES: Final = 256 << 10
_TAIL_BYTES: Final = 2 << 20
_EXCEPTION: Final = re.compile(r"^(?:[A-Za-z_]\w*\.)*(?P<name>[A-Za-z_]\w*(?:Error|Exception))\b.*", re.MULTILINE)


@dataclass(frozen=True)
class ExceptionLine:
    """The line in which a traceback says what was raised.

    Attributes:
        name: of the exception's class, without its module.
        line: all of it.
    """

    name: str
    line: str


def read_end(log: Path) -> str:
    """Read the end of a log."""
    with log.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
        return file.read(_TAIL_BYTES).decode("utf-8", "replace")


def excerpt(log: Path) -> str:
    """Read a log's beginning and its end."""
    with log.open("rb") as file:
        if os.fstat(file.fileno()).st_size <= _HEAD_BYTES + _TAIL_BYTES:
            return file.read(_HEAD_BYTES + _TAIL_BYTES).decode("utf-8", "replace")
        head = file.read(_HEAD_BYTES).decode("utf-8", "replace")
    return f"{head}\n{read_end(log)}"


def last_exception(text: str) -> ExceptionLine | None:
    """Find the last line of a text that says what was raised, by an exception of the usual names."""
    found = list(_EXCEPTION.finditer(text))
    return ExceptionLine(found[-1]["name"], found[-1][0].strip()) if found else None

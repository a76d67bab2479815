"""Outcomes on disk, one JSON line each, found again after any crash.

A line begins with what a restarted stage must know (see `_HEAD`), so that finding out what is done costs a search
for line ends and a match of a few bytes each, however long the answers are. A line is handed to the kernel at once,
which is enough against `kill -9`; it is flushed to the disk a second later, which is enough against the rest. A last
line that was cut off by a crash is removed when the journal is opened.
"""

import asyncio
import fcntl
import logging
import mmap
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from distill_runtime.client.values import Answer, Outcome, Reply, Request
from distill_runtime.foundation.errors import Retryable, WrongInput

logger = logging.getLogger(__name__)

_FLUSH_SECONDS = 1.0
_READ_BYTES = 1 << 20
"""Read at once: of what a file object reads by itself, a line of a long answer has to be put together."""
_HEAD = re.compile(
    rb'\{"key":"([0-9a-f]{16})","failure":(?:null|"(\w+)"),"finish_reason":(?:null|"(\w+)"),'
    rb'"prompt_tokens":(?:null|(\d+)),"completion_tokens":(?:null|(\d+)),"attempts":(\d+)'
    # Only where there was a shorter try, so that other lines are as short as they were before it was counted.
    rb'(?:,"discarded_prompt_tokens":(\d+),"discarded_completion_tokens":(\d+))?'
    # Only where there are several.
    rb'(?:,"teacher":("(?:[^"\\]|\\.)*"))?'
)


@dataclass
class Tally:
    """What the outcomes of a journal amount to.

    Attributes:
        finish_reasons: answers, by finish reason.
        failures: failures for good, by reason.
        prompt_tokens, completion_tokens: of all replies, discarded ones too: what was paid for.
        discarded_completion_tokens: those among them that are in no answer.
        uncounted: answers whose tokens the endpoint has not counted, which are in none of these numbers.
        attempts: HTTP requests that led to an outcome.
        by_teacher: the same by the model that was asked, where there are several.
    """

    finish_reasons: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    discarded_completion_tokens: int = 0
    uncounted: int = 0
    attempts: int = 0
    by_teacher: dict[str, "Tally"] = field(default_factory=dict)

    @property
    def outcomes(self) -> int:
        """Requests that are settled."""
        return self.finish_reasons.total() + self.failures.total()

    def add_answer(self, finish_reason: str, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        """Count an answer and its tokens."""
        self.finish_reasons[finish_reason] += 1
        self.uncounted += completion_tokens is None
        self._add_tokens(prompt_tokens, completion_tokens)

    def add_discarded(self, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        """Count the tokens of a reply that is kept nowhere."""
        self._add_tokens(prompt_tokens, completion_tokens)
        self.discarded_completion_tokens += completion_tokens or 0

    def _add_tokens(self, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        self.prompt_tokens += prompt_tokens or 0
        self.completion_tokens += completion_tokens or 0


class Journal:
    """The outcomes of one shard, open for writing by one process; a context manager.

    Attributes:
        path: of its file.
        tally: of all outcomes in it.

    Raises:
        Retryable: JournalInUse, if another process has it open.
        WrongInput: JournalDamaged, if a line other than the last is not a journal's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._lock()
            _cut_torn_tail(self._file)
            self.tally = Tally()
            self._keys = self._scan()
        except BaseException:
            os.close(self._file)
            raise
        self._flushed = True

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            os.fsync(self._file)
        finally:
            os.close(self._file)

    def __contains__(self, key: str) -> bool:
        return int(key, 16) in self._keys

    def append(self, outcome: Outcome) -> None:
        """Write an outcome; it survives a `kill -9` from when this returns."""
        self.append_line(_line(outcome))

    def append_line(self, line: bytes) -> None:
        """Write a whole line, and count it as it will be when it is read again."""
        head = _HEAD.match(line)
        assert head is not None, line[:200]
        self._write(line)
        self._keys.add(self._count(head))

    def _write(self, line: bytes) -> None:
        written = os.write(self._file, line)
        while written < len(line):
            written += os.write(self._file, line[written:])
        self._flushed = False

    def read_sample(self, number: int) -> Iterator[dict[str, Any]]:
        """Read so many records, or all, spread evenly over those that it has."""
        step = max(1, self.tally.outcomes // number)
        for _, read in islice(_whole_lines(self.path), 0, step * number, step):
            yield orjson.loads(read())

    async def keep_flushed(self) -> None:
        """Flush to the disk every second, in another thread, until cancelled."""
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            if not self._flushed:
                self._flushed = True
                await asyncio.to_thread(os.fsync, self._file)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Retryable(
                "JournalInUse", f"another process is writing {self.path}; it must end before this one can go on"
            ) from error

    def _scan(self) -> set[int]:
        lines = 0
        keys: set[int] = set()
        for lines, (head, _) in enumerate(_whole_lines(self.path), start=1):  # noqa: B007 - used after the loop
            keys.add(self._count(head))
        if len(keys) != lines:
            raise _damaged(self.path, f"{lines - len(keys)} of its {lines} lines repeat an earlier one's key")
        return keys

    def _count(self, head: "re.Match[bytes]") -> int:
        """Add a line to the tally and give its key."""
        *_, teacher = head.groups()
        _add(self.tally, head)
        if teacher:
            _add(self.tally.by_teacher.setdefault(orjson.loads(teacher), Tally()), head)
        return int(head.group(1), 16)


def _add(tally: Tally, head: "re.Match[bytes]") -> None:
    """Add a line to a tally."""
    _, failure, finish_reason, prompt_tokens, completion_tokens, attempts, *discarded, _ = head.groups()
    if failure:
        tally.failures[failure.decode()] += 1
    else:
        counted = (None if tokens is None else int(tokens) for tokens in (prompt_tokens, completion_tokens))
        tally.add_answer(finish_reason.decode(), *counted)
    if discarded[0]:
        tally.add_discarded(*map(int, discarded))
    tally.attempts += int(attempts)


def read_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Read the key and the text of each whole line of a journal, which another process may be writing."""
    for head, read in _whole_lines(path):
        yield head.group(1).decode(), read()


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Read each whole line of a journal as a record (see `_line` for its fields)."""
    return (record for record, _ in read_records_from(path, 0))


def read_records_from(path: Path, offset: int) -> Iterator[tuple[dict[str, Any], int]]:
    """Read each whole line from a byte offset on as a record, with the offset at which the next one starts.

    A line at a time, where a mapped file would be in the process's memory as far as it was read.
    """
    with path.open("rb", buffering=_READ_BYTES) as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return  # it is being written
            if _HEAD.match(line) is None:
                raise _damaged(path, f"the line at byte {offset} does not begin as one")
            offset += len(line)
            yield orjson.loads(line), offset


def read_chosen(path: Path, keys: Set[str]) -> dict[str, dict[str, Any]]:
    """Read the records of some keys, as far as they are there, without reading the others."""
    return {key: orjson.loads(read()) for head, read in _whole_lines(path) if (key := head.group(1).decode()) in keys}


def _whole_lines(path: Path) -> Iterator[tuple["re.Match[bytes]", Callable[[], bytes]]]:
    """Find each line that ends, by its head, and give a function that reads the line."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            start = 0
            while (end := content.find(b"\n", start) + 1) > 0:
                head = _HEAD.match(content, start, end)
                if head is None:
                    raise _damaged(path, f"the line at byte {start} does not begin as one")
                yield head, lambda start=start, end=end: content[start:end]  # type: ignore[misc]
                start = end


def _cut_torn_tail(file: int) -> None:
    """Remove what follows the last line that is whole."""
    size = end = os.fstat(file).st_size
    if not size:
        return
    with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as content:
        end = content.rfind(b"\n") + 1
        while end and not _is_json(content[(start := content.rfind(b"\n", 0, end - 1) + 1) : end]):
            end = start
    if end != size:
        logger.warning("the journal's last line was cut off by a crash: removed %d bytes", size - end)
        os.ftruncate(file, end)


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _line(outcome: Outcome) -> bytes:
    """Write an outcome as a line: the head, what the request wants kept, then what was said or what went wrong."""
    if isinstance(outcome, Answer):
        reply = outcome.reply
        fields = {
            "key": outcome.request.key,
            "failure": None,
            "finish_reason": reply.finish_reason,
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
            "attempts": outcome.attempts,
            **_discarded_fields(outcome.discarded),
            **_teacher_field(outcome.request),
            **outcome.request.record,
            "reasoning": reply.reasoning,
            "content": reply.content,
            "model": reply.model,
            "endpoint": outcome.endpoint,
            "seconds": round(outcome.seconds, 3),
        }
    else:
        fields = {
            "key": outcome.request.key,
            "failure": outcome.reason,
            "finish_reason": None,
            "prompt_tokens": None,
            "completion_tokens": None,
            "attempts": outcome.attempts,
            **_teacher_field(outcome.request),
            **outcome.request.record,
            "failure_message": outcome.message,
            "endpoint": outcome.endpoint,
        }
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def _discarded_fields(reply: Reply | None) -> dict[str, int]:
    if reply is None:
        return {}
    return {
        "discarded_prompt_tokens": reply.prompt_tokens or 0,
        "discarded_completion_tokens": reply.completion_tokens or 0,
    }


def _teacher_field(request: Request) -> dict[str, str]:
    return {} if request.teacher is None else {"teacher": request.teacher}


def _damaged(path: Path, what: str) -> WrongInput:
    return WrongInput(
        "JournalDamaged", f"{path}: {what}; remove the damaged lines, and what they held will be asked again"
    )

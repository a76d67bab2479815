"""Judging answers as they come, in a thread that reads the journal behind the asking.

Only what a score needs is kept of an answer: its text stays in the journal, so memory does not grow with how much is
written. Verdicts are written down in the journal's order, a line for a line, and an evaluation that starts again takes
them over as far as the two files agree; so a sample is in the score once, whatever was killed when.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter, ValidationError

from distill_runtime.client.journal import read_lines as read_answers
from distill_runtime.client.journal import read_records_from
from distill_runtime.evaluation.score import UNANSWERED, Sample
from distill_runtime.evaluation.unfinished import closes_unopened, may_be_reasoning
from distill_runtime.foundation.reasoning import text_after_reasoning
from distill_runtime.foundation.rows import CUT_OFF
from distill_runtime.storage.resumable import GrowingFile, json_line, read_lines
from distill_runtime.verification import Question, Reason, Verdict, Verifier, verifier_workers, verify_all

VERDICTS_NAME: Final = "verdicts.jsonl"
"""File of the work directory: who judges, then a verdict for each line of the journal."""

_LOOK_SECONDS: Final = 0.25
_REPORT_SECONDS: Final = 1.0
_SAVE_SECONDS: Final = 1.0
_LONGEST_EXTRACTED: Final = 1000
"""Characters that are kept of a final answer; a model may put a book into its box."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """A line of the file; no model, since there is one for each answer, and writing it needs no validation.

    Attributes:
        key: of the line of the journal that it is about.
    """

    key: str
    uuid: str
    sample: Annotated[int, Field(ge=0)]
    reason: Reason | None
    extracted: str | None
    finish_reason: str | None
    completion_tokens: int | None
    empty: bool
    closes_unopened: bool
    may_be_reasoning: bool


_VERDICT: Final = TypeAdapter(_Verdict)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is kept of a line of the journal until its verdict is there."""

    key: str
    uuid: str
    number: int
    failed: bool
    finish_reason: str | None
    completion_tokens: int | None
    empty: bool
    closes_unopened: bool
    may_be_reasoning: bool


class Judging:
    """Judges what is in a journal, and what is written to it meanwhile; a context manager.

    Args:
        verifier: how to compare.
        timeout_seconds: longest that one comparison may take.
        judge: names and versions of what judges. Verdicts of others are not taken over.
        references: the right answers, by the problem's uuid.
        answers: the journal's file.
        directory: where verdicts are written, made if need be.

    Attributes:
        samples: what is judged so far, by uuid and number. To be read when `finish` has returned.

    Raises:
        WrongInput: JournalDamaged.
    """

    def __init__(
        self,
        verifier: Verifier,
        timeout_seconds: float,
        judge: Mapping[str, str],
        references: Mapping[str, str],
        answers: Path,
        directory: Path,
    ) -> None:
        self.samples: dict[str, dict[int, Sample]] = {uuid: {} for uuid in references}
        self._verifier = verifier
        self._timeout_seconds = timeout_seconds
        self._references = references
        self._answers = answers
        self._reasons: Counter[str] = Counter()
        self._truncated = 0
        self._opens_in_prompt = False
        self._may_be_reasoning: list[tuple[str, int]] = []
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / VERDICTS_NAME
        self._offset, size = self._take_over(json_line(judge))
        self._file = GrowingFile(self._path, size)
        if not size:
            self._file.append(json_line(judge))
        self._complete = threading.Event()
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judging")
        self._judging: Future[None]

    def __enter__(self) -> "Judging":
        self._judging = self._thread.submit(self._judge)
        return self

    def __exit__(self, *_error: object) -> None:
        self._closed = True
        self._complete.set()
        with self._file, self._thread:
            wait((self._judging,))

    @property
    def judged(self) -> int:
        """Samples that have a verdict."""
        return self._reasons.total()

    @property
    def counts(self) -> dict[str, int]:
        """What the samples judged so far come to."""
        return {
            "judged": self.judged,
            "correct": self._reasons["correct"],
            "truncated": self._truncated,
            UNANSWERED: self._reasons[UNANSWERED],
        }

    @property
    def metrics(self) -> dict[str, float]:
        """The score so far, in percent; nothing before there is one."""
        return {"scoreSoFar": 100 * self._reasons["correct"] / self.judged} if self.judged else {}

    def check(self) -> None:
        """Make sure that it goes on.

        Raises:
            WrongInput, Retryable: as `verify_all`.
        """
        if self._judging.done():
            self._judging.result()

    def finish(self, report: Callable[[], None]) -> None:
        """Wait for the verdicts of all that is in the journal, which does not grow any more.

        Args:
            report: called every second meanwhile, and at the end.

        Raises:
            WrongInput, Retryable: as `verify_all`.
        """
        self._complete.set()
        while wait((self._judging,), _REPORT_SECONDS).not_done:
            report()
        self._judging.result()
        if self._opens_in_prompt:
            self._take_back()
        report()

    def _take_back(self) -> None:
        """Have no answer found in what is known to be unfinished reasoning, now that an answer has shown it."""
        for uuid, number in self._may_be_reasoning:
            sample = self.samples[uuid][number]
            self._reasons[sample.reason or UNANSWERED] -= 1
            self._reasons["noAnswer"] += 1
            self.samples[uuid][number] = replace(sample, reason="noAnswer", extracted=None)

    def _judge(self) -> None:
        results = verify_all(self._verifier, self._questions(), self._timeout_seconds, verifier_workers())
        saved = time.monotonic()
        with closing(results):
            for answer, verdict in results:
                self._write(answer, verdict)
                if self._closed:
                    break
                if time.monotonic() - saved > _SAVE_SECONDS:
                    self._file.sync()
                    saved = time.monotonic()
        self._file.sync()

    def _questions(self) -> Iterator[Question[_Answer]]:
        """Read the journal until it is complete and read."""
        offset = self._offset
        while True:
            complete = self._complete.is_set()  # asked first: what is written before it is set is read after it is seen
            for record, offset in read_records_from(self._answers, offset):  # noqa: B007, B020 - it goes on where it ended
                if self._closed:
                    return
                yield self._question(record)
            if complete:
                return
            self._complete.wait(_LOOK_SECONDS)

    def _question(self, record: Mapping[str, Any]) -> Question[_Answer]:
        failed, uuid, finish_reason = record["failure"] is not None, record["uuid"], record["finish_reason"]
        content = "" if failed else record["content"]
        answer = _Answer(
            key=record["key"],
            uuid=uuid,
            number=record["sample"],
            failed=failed,
            finish_reason=finish_reason,
            completion_tokens=record["completion_tokens"],
            empty=not failed and not text_after_reasoning(content).strip(),
            closes_unopened=closes_unopened(content),
            may_be_reasoning=may_be_reasoning(content, finish_reason),
        )
        return Question(answer, self._references[uuid], None if failed else content)

    def _write(self, answer: _Answer, verdict: Verdict) -> None:
        line = _Verdict(
            key=answer.key,
            uuid=answer.uuid,
            sample=answer.number,
            reason=None if answer.failed else verdict.reason,
            extracted=verdict.answer and verdict.answer[:_LONGEST_EXTRACTED],
            finish_reason=answer.finish_reason,
            completion_tokens=answer.completion_tokens,
            empty=answer.empty,
            closes_unopened=answer.closes_unopened,
            may_be_reasoning=answer.may_be_reasoning,
        )
        self._file.append(json_line(line))
        self._count(line)

    def _count(self, verdict: _Verdict) -> None:
        self.samples[verdict.uuid][verdict.sample] = Sample(
            verdict.sample,
            verdict.reason,
            verdict.extracted,
            verdict.finish_reason,
            verdict.completion_tokens,
            empty=verdict.empty,
        )
        self._opens_in_prompt |= verdict.closes_unopened
        if verdict.may_be_reasoning:
            self._may_be_reasoning.append((verdict.uuid, verdict.sample))
        self._truncated += verdict.finish_reason == CUT_OFF
        self._reasons[verdict.reason or UNANSWERED] += 1

    def _take_over(self, judge: bytes) -> tuple[int, int]:
        """Take over the verdicts that are there, as far as they are about the journal's lines.

        Returns:
            Bytes of the journal, and of the file of verdicts, that belong together.
        """
        offset = 0
        if not self._path.exists():
            return 0, 0
        lines = read_lines(self._path)
        first, size = next(lines, (b"", 0))
        if first != judge:
            return 0, 0
        for (key, answer), (line, end) in zip(read_answers(self._answers), lines, strict=False):
            verdict = _parse(line)
            if verdict is None or verdict.key != key or verdict.uuid not in self.samples:
                break
            self._count(verdict)
            offset, size = offset + len(answer), end
        return offset, size


def _parse(line: bytes) -> _Verdict | None:
    """Read a line of the file; None if it is not whole, as a crash may leave the last one."""
    try:
        return _VERDICT.validate_json(line) if line.endswith(b"\n") else None
    except ValidationError:
        return None

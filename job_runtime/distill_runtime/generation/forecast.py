"""Judging answers while they are generated, to stop when what they will come to is hopeless.

A hundred thousand answers cost more than the training that they are for, and the filter says only afterwards that they
are of no use: the prompt asks for no `\\boxed{}`, the reference answers are in another form, the model is another one.
So a sample of the answers is judged as they arrive, as the filter will, but in one worker process and at a pace that
the client does not notice: what there is no room for is left out, never waited for.

Prompts are rarely in random order, so the last answers alone prove nothing: a run may go through the hardest part of
its source. What counts is what the whole would come to if all that is still to be asked were accepted at the rate of
the last answers.
"""

import math
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

from distill_runtime.client.values import Answer, Outcome
from distill_runtime.contract import FilterParameters
from distill_runtime.evaluation.interval import wilson_interval
from distill_runtime.filtering.reasons import ACCEPTED, FAILED, rejected_unseen
from distill_runtime.foundation.reasoning import joined
from distill_runtime.foundation.rows import CUT_OFF
from distill_runtime.verification import Question, open_verifier, verify_all

QUANTILE = 3.290526731491895
"""Two-sided 99.9 % quantile of the normal distribution: it is looked at after each answer, and must not cry wolf."""
_SMALLEST_WINDOW = 200
_WAITING = 64
"""Answers that may wait to be judged; beyond that they are left out of the sample."""
_PER_SECOND = 100
"""Answers that are judged at most, on average: so many cost the client next to nothing."""


class Window:
    """The last generations that were judged, and the share of all that were.

    Attributes:
        size: generations that it holds when it is full: so many that none of them accepted would be proof enough.
        reasons: of those in it, by what became of them.
    """

    def __init__(self, least: float) -> None:
        self._least = least
        self.size = max(_SMALLEST_WINDOW, math.ceil(2 * QUANTILE**2 / least))
        self.reasons: Counter[str] = Counter()
        self._last: deque[str] = deque()
        self._judged = 0
        self._accepted = 0

    def add(self, reason: str) -> None:
        """Take a judgement into account, and drop the oldest if it is full."""
        if self.full:
            self.reasons[self._last.popleft()] -= 1
        self._last.append(reason)
        self.reasons[reason] += 1
        self._judged += 1
        self._accepted += reason == ACCEPTED

    @property
    def full(self) -> bool:
        """Whether it holds as many as it can."""
        return len(self._last) == self.size

    @property
    def rate(self) -> float | None:
        """Share of those in it that were accepted; None if it is empty."""
        return self.reasons[ACCEPTED] / len(self._last) if self._last else None

    def most_of_all(self, done: int, total: int) -> float:
        """Give the largest share of all generations that may still be accepted in the end.

        Those that are done count at the rate of all that were judged, those to come at that of the last ones, both at
        the upper end of their confidence intervals. 1 as long as the window is not full.
        """
        rate = self.rate
        if rate is None or not self.full:
            return 1.0
        _, of_done = wilson_interval(self._accepted / self._judged, self._judged, QUANTILE)
        _, to_come = wilson_interval(rate, self.size, QUANTILE)
        return (of_done * done + to_come * (total - done)) / total

    def is_hopeless(self, done: int, total: int) -> bool:
        """Tell whether fewer than the least share will be accepted, as far as a sample can tell."""
        return self.most_of_all(done, total) < self._least

    def describe(self) -> str:
        """Say what the verifier makes of the last answers, the most frequent reasons first."""
        accepted, judged = self.reasons[ACCEPTED], len(self._last)
        rejected = ", ".join(
            f"{number} {reason}" for reason, number in self.reasons.most_common() if reason != ACCEPTED and number
        )
        share = 100 * accepted / judged
        return f"{accepted} of the last {judged} generations judged ({share:.1f} %); rejected: {rejected}"


class Forecast:
    """Judges a sample of the outcomes in a thread of its own; a context manager.

    Args:
        parameters: how the filter will judge; their minAcceptanceRate is more than 0.

    Attributes:
        window: of what was judged.
        hopeless: why it is no use to go on; None as long as it is.

    Raises:
        WrongInput: as `open_verifier`.
    """

    def __init__(self, parameters: FilterParameters) -> None:
        self._parameters = parameters
        self._verifier = open_verifier(parameters)
        self.window = Window(parameters.min_acceptance_rate)
        self.hopeless: str | None = None
        self._waiting: queue.Queue[Outcome | None] = queue.Queue(_WAITING)
        self._credit = float(_WAITING)
        self._credited_at = time.monotonic()
        self._closed = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="forecast")
        self._judging: Future[None]

    def __enter__(self) -> "Forecast":
        self._judging = self._thread.submit(self._judge, self._arriving(), self._closed.is_set)
        return self

    def __exit__(self, *_error: object) -> None:
        self._closed.set()
        with suppress(queue.Full):  # then it is not waiting for one
            self._waiting.put_nowait(None)
        with self._thread:
            self._judging.result()

    def judge_records(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Judge records of a journal, and return when it is done.

        Raises:
            Retryable: as `verify_all`.
        """
        self._judge((self._question_of_record(record) for record in records), lambda: False)

    def take(self, outcome: Outcome) -> None:
        """Judge an outcome some time later, or leave it out if too many are waiting."""
        now = time.monotonic()
        self._credit = min(_WAITING, self._credit + (now - self._credited_at) * _PER_SECOND)
        self._credited_at = now
        if self._credit >= 1 and not self._waiting.full():
            self._credit -= 1
            self._waiting.put_nowait(outcome)

    def is_hopeless(self, done: int, total: int) -> bool:
        """Tell whether to stop; once it is so, it stays so."""
        if self.hopeless is None and self.window.is_hopeless(done, total):
            self.hopeless = (
                f"the verifier accepted {self.window.describe()}. At that rate at most "
                f"{100 * self.window.most_of_all(done, total):.1f} % of all would be accepted, and minAcceptanceRate "
                f"asks for {100 * self._parameters.min_acceptance_rate:g} %"
            )
        return self.hopeless is not None

    def _judge(self, questions: Iterator[Question[str | None]], closed: Callable[[], bool]) -> None:
        results = verify_all(self._verifier, questions, self._parameters.verify_timeout_seconds, workers=1)
        with closing(results):
            for rejected, verdict in results:
                self.window.add(rejected or (ACCEPTED if verdict.correct else verdict.reason))
                if closed():
                    break

    def _arriving(self) -> Iterator[Question[str | None]]:
        while not self._closed.is_set():
            outcome = self._waiting.get()
            if outcome is not None:
                yield self._question_of_outcome(outcome)

    def _question_of_outcome(self, outcome: Outcome) -> Question[str | None]:
        reference = outcome.request.record["answer"]
        if not isinstance(outcome, Answer):
            return self._question(outcome.reason, None, reference, None, "")
        reply = outcome.reply
        return self._question(None, reply.finish_reason, reference, reply.reasoning, reply.content)

    def _question_of_record(self, record: Mapping[str, Any]) -> Question[str | None]:
        """Ask about a line of a journal, which for a failure has neither reasoning nor content."""
        failure, finish_reason, reference = record["failure"], record["finish_reason"], record["answer"]
        return self._question(failure, finish_reason, reference, record.get("reasoning"), record.get("content", ""))

    def _question(
        self, failure: str | None, finish_reason: str | None, reference: str, reasoning: str | None, content: str
    ) -> Question[str | None]:
        unusable = FAILED if failure else None
        rejected = rejected_unseen(unusable, finish_reason == CUT_OFF, self._parameters)
        return Question(rejected, reference, None if rejected else joined(reasoning, content))

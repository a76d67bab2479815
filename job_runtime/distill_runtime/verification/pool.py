"""Verify many generations at once, in worker processes that one bad answer cannot take down with it.

A computer-algebra system on a model's output is a hostile place: `9^{9^{9}}` computes for years, holds on to SIGALRM
in C code, or eats all memory. So `compare` runs in processes forked from a warmed-up one, each with a memory limit; a
process that takes too long or dies costs the answer it was at and nothing else (see `supervisor`).
"""

import logging
from collections import OrderedDict, deque
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar

from distill_runtime.verification.supervision import Supervision
from distill_runtime.verification.verifier import Reason, Verdict, Verifier

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

_WINDOW = 256
"""Generations for each worker that may be under way: enough that one slow answer does not starve the others."""
_REMEMBERED = 65_536
"""Pairs of reference and answer whose verdict is kept: generations of one prompt tend to give the same answer."""
_LONGEST_REMEMBERED = 500
"""Characters of an answer whose verdict is kept: some verifiers compare whole texts, which are not given twice."""
_CRASHES_LOGGED = 20
"""A verifier that fails at every answer says why often enough."""


@dataclass(frozen=True, slots=True)
class Question(Generic[Item]):
    """One generation to verify.

    Attributes:
        item: whatever the caller wants back with the verdict.
        reference: the right answer.
        text: what the model wrote, reasoning included; None if there is nothing to verify, which is noAnswer.
    """

    item: Item
    reference: str
    text: str | None


def verify_all(
    verifier: Verifier, questions: Iterable[Question[Item]], timeout_seconds: float, workers: int
) -> Generator[tuple[Item, Verdict], None, None]:
    """Verify generations in parallel; results come in the order of the questions.

    Questions are taken as results are asked for, so memory does not grow with their number. Closing the iterator
    ends the worker processes.

    Args:
        verifier: how to compare.
        questions: what to compare.
        timeout_seconds: longest that one comparison may take.
        workers: processes.

    Raises:
        WrongInput: as `Verifier.prepare`.
        Retryable: VerifierPoolBroken, if the processes themselves cannot be kept running.
    """
    with closing(_Comparer(verifier, timeout_seconds, workers)) as comparer:
        pending: deque[tuple[Item, _Judgement]] = deque()
        for question in questions:
            pending.append((question.item, comparer.submit(question.reference, question.text)))
            comparer.take_settled()
            while pending and (len(pending) >= _WINDOW * workers or pending[0][1].settled):
                item, judgement = pending.popleft()
                yield item, comparer.verdict(judgement)
        for item, judgement in pending:
            yield item, comparer.verdict(judgement)


@dataclass(slots=True)
class _Comparison:
    """What came of comparing a pair, once that is known. Equal pairs share one."""

    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class _Judgement:
    """The verdict of one answer, now or later."""

    answer: str | None
    comparison: _Comparison

    @property
    def settled(self) -> bool:
        return self.comparison.reason is not None


_NO_ANSWER = _Judgement(None, _Comparison("noAnswer"))
_CORRECT, _INCORRECT = _Comparison("correct"), _Comparison("incorrect")


class _Comparer:
    """Decides easy pairs at once, remembers pairs, and hands the rest to the worker processes."""

    def __init__(self, verifier: Verifier, timeout_seconds: float, workers: int) -> None:
        self._verifier = verifier
        self._timeout_seconds = timeout_seconds
        self._workers = workers
        self._remembered: OrderedDict[tuple[str, str], _Comparison] = OrderedDict()
        self._supervision: Supervision | None = None
        self._under_way: dict[int, tuple[str, _Comparison]] = {}
        self._crashes = 0

    def close(self) -> None:
        """End the processes, if there are any."""
        if self._supervision is not None:
            self._supervision.close()

    def submit(self, reference: str, text: str | None) -> _Judgement:
        """Begin to verify a text."""
        answer = None if text is None else self._verifier.extract(text)
        if answer is None:
            return _NO_ANSWER
        decided = self._verifier.compare_quickly(reference, answer)
        if decided is not None:
            return _Judgement(answer, _CORRECT if decided else _INCORRECT)
        return _Judgement(answer, self._compare(reference, answer))

    def take_settled(self) -> None:
        """Take note of what has been settled meanwhile."""
        if self._under_way:
            self._take(0)

    def verdict(self, judgement: _Judgement) -> Verdict:
        """Wait for a verdict."""
        while judgement.comparison.reason is None:
            self._take(None)
        return Verdict(judgement.comparison.reason, judgement.answer)

    def _take(self, timeout_seconds: float | None) -> None:
        assert self._supervision is not None
        for number, reason, cause in self._supervision.settled(timeout_seconds):
            answer, comparison = self._under_way.pop(number)
            comparison.reason = reason
            if reason == "crashed":
                self._log_crash(answer, cause)

    def _log_crash(self, answer: str, cause: str) -> None:
        self._crashes += 1
        if self._crashes <= _CRASHES_LOGGED:
            logger.warning("verifying the answer %.200r failed: %s", answer, cause)
        if self._crashes == _CRASHES_LOGGED:
            logger.warning("further answers whose verifying fails are counted and not named")

    def _compare(self, reference: str, answer: str) -> _Comparison:
        if len(answer) > _LONGEST_REMEMBERED:
            return self._hand_on(reference, answer)
        pair = (reference, answer)
        comparison = self._remembered.get(pair)
        if comparison is None:
            comparison = self._remembered[pair] = self._hand_on(reference, answer)
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        else:
            self._remembered.move_to_end(pair)
        return comparison

    def _hand_on(self, reference: str, answer: str) -> _Comparison:
        if self._supervision is None:
            self._supervision = Supervision(self._verifier, self._timeout_seconds, self._workers)
        comparison = _Comparison()
        self._under_way[self._supervision.send(reference, answer)] = (answer, comparison)
        return comparison

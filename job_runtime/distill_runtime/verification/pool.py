"""Verify many generations at once, in worker processes that one bad answer cannot take down with it.

A computer-algebra system on a model's output is a hostile place: `9^{9^{9}}` computes for years, holds on to SIGALRM
in C code, or eats all memory. So `compare` runs in processes forked from a warmed-up one, each with a memory limit; a
process that takes too long or dies costs the answer it was at and nothing else.
"""

import importlib
import logging
import multiprocessing
import resource
from collections import OrderedDict, deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Generic, TypeVar

from pebble import ProcessExpired, ProcessPool

from distill_runtime.foundation.errors import Retryable
from distill_runtime.verification.verifier import NoAnswer, Reason, Verdict, Verifier

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

_WINDOW = 256
"""Generations for each worker that may be under way: enough that one slow answer does not starve the others."""
_MEMORY_LIMIT = 2 << 30
"""Address space of a worker in bytes; a warmed-up one takes 0.1 GiB."""
_REMEMBERED = 65_536
"""Pairs of reference and answer whose verdict is kept: generations of one prompt tend to give the same answer."""

_LONGEST_REMEMBERED = 500
"""Characters of an answer whose verdict is kept: some verifiers compare whole texts, which are not given twice."""


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
        Retryable: VerifierPoolBroken, if the processes themselves cannot be kept running.
    """
    with _Comparer(verifier, timeout_seconds, workers) as comparer:
        pending: deque[tuple[Item, _Judgement]] = deque()
        for question in questions:
            pending.append((question.item, comparer.submit(question.reference, question.text)))
            while pending and (len(pending) >= _WINDOW * workers or pending[0][1].ready):
                item, judgement = pending.popleft()
                yield item, judgement.verdict()
        for item, judgement in pending:
            yield item, judgement.verdict()


class _Judgement:
    """The verdict of one answer, now or later. Equal pairs share one future."""

    def __init__(self, answer: str | None, outcome: Reason | Future[bool]) -> None:
        self._answer = answer
        self._outcome = outcome

    @property
    def ready(self) -> bool:
        return isinstance(self._outcome, str) or self._outcome.done()

    def verdict(self) -> Verdict:
        """Wait for the verdict.

        Raises:
            Retryable: VerifierPoolBroken, if the answer was not compared.
        """
        reason = self._outcome if isinstance(self._outcome, str) else self._wait(self._outcome)
        return Verdict(reason, self._answer)

    def _wait(self, future: "Future[bool]") -> Reason:
        try:
            return "correct" if future.result() else "incorrect"
        except NoAnswer:
            return "noAnswer"
        except TimeoutError:
            return "timeout"
        except ProcessExpired as error:
            logger.warning("verifying the answer %.200r ended its process: %s", self._answer, error)
        except BrokenProcessPool as error:
            raise _broken(error) from error
        except Exception as error:  # noqa: BLE001 - whatever a comparison raises, it is this answer's alone
            logger.warning("verifying the answer %.200r failed: %r", self._answer, error)
        return "crashed"


class _Comparer:
    """Decides easy pairs at once, remembers pairs, and hands the rest to the worker processes."""

    def __init__(self, verifier: Verifier, timeout_seconds: float, workers: int) -> None:
        self._verifier = verifier
        self._timeout_seconds = timeout_seconds
        self._futures: OrderedDict[tuple[str, str], Future[bool]] = OrderedDict()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, *verifier.preload])
        self._pool = ProcessPool(max_workers=workers, initializer=_start_worker, initargs=(verifier,), context=context)

    def __enter__(self) -> "_Comparer":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def submit(self, reference: str, text: str | None) -> _Judgement:
        """Begin to verify a text."""
        answer = None if text is None else self._verifier.extract(text)
        if answer is None:
            return _Judgement(None, "noAnswer")
        decided = self._verifier.compare_quickly(reference, answer)
        if decided is not None:
            return _Judgement(answer, "correct" if decided else "incorrect")
        return _Judgement(answer, self._compare(reference, answer))

    def _compare(self, reference: str, answer: str) -> "Future[bool]":
        pair = (reference, answer)
        if len(answer) > _LONGEST_REMEMBERED:
            return self._schedule(pair)
        future = self._futures.get(pair)
        if future is None:
            future = self._futures[pair] = self._schedule(pair)
            if len(self._futures) > _REMEMBERED:
                self._futures.popitem(last=False)
        else:
            self._futures.move_to_end(pair)
        return future

    def _schedule(self, pair: tuple[str, str]) -> "Future[bool]":
        try:
            future: Future[bool] = self._pool.schedule(_compare_in_worker, args=pair, timeout=self._timeout_seconds)
        except RuntimeError as error:  # also a BrokenProcessPool: it starts its processes now, or it is broken since
            raise _broken(error) from error
        return future


def _broken(error: RuntimeError) -> Retryable:
    return Retryable(
        "VerifierPoolBroken",
        f"the processes that compare answers cannot be started, or end by themselves ({error.__cause__ or error!r}); "
        "nothing was judged by that. If it happens again, raise the container's memory limit or its limit of processes",
    )


_worker_verifier: Verifier
"""Set once in each worker process, so that a task carries only its two texts."""


def _start_worker(verifier: Verifier) -> None:
    global _worker_verifier  # noqa: PLW0603 - a process pool's initializer has no other place to leave it
    # Where the fork server could not preload them: their loading must not count against the first answer's time.
    for module in verifier.preload:
        importlib.import_module(module)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT, _MEMORY_LIMIT))
    _worker_verifier = verifier


def _compare_in_worker(reference: str, answer: str) -> bool:
    return _worker_verifier.compare(reference, answer)

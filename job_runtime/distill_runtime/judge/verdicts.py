"""What a judge's replies come to.

A verdict is looked for in the reply alone, after the judge's own reasoning, and the last one counts: an answer that has
a verdict in it, which the judge may quote, decides nothing by itself. The expression is somebody's own, so it is
matched where verifying happens: in a process that may take too long, and be ended for it.
"""

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import orjson

from distill_runtime.client.journal import read_records_from
from distill_runtime.contract import Judge
from distill_runtime.foundation.reasoning import text_after_reasoning
from distill_runtime.foundation.rows import CUT_OFF
from distill_runtime.verification import Question, verifier_workers, verify_all
from distill_runtime.verification.text_answers import check_pattern, last_match

Item = TypeVar("Item")

Decision = Literal["accepted", "rejected", "noVerdict", "failed"]
"""What came of asking.

* accepted, rejected: the judge's verdict.
* noVerdict: the reply has none, or was cut off before it.
* failed: the judge never answered, although it answers others.
"""
_TIMEOUT_SECONDS: Final = 10
"""Longest that looking for a verdict may take."""
_WHY_CHARACTERS: Final = 1000


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the judge says of an answer.

    Attributes:
        decision: what came of it.
        why: how its reply ends, or why there is none.
    """

    decision: Decision
    why: str


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Finds a verdict in a reply, and compares it with the one that accepts, as a `verification.verifier.Verifier`."""

    pattern: str

    def prepare(self) -> None:
        """Nothing is needed."""

    def extract(self, text: str) -> str | None:
        """Give what follows the judge's reasoning, in which `compare` looks for the verdict."""
        return text_after_reasoning(text).strip() or None

    def compare_quickly(self, reference: str, answer: str) -> None:
        """Decide nothing."""

    def compare(self, reference: str, answer: str) -> bool:
        """Find the last verdict and compare it, whether it is written in capitals or not."""
        verdict = last_match(self.pattern, answer)
        return verdict is not None and verdict.casefold().split() == reference.casefold().split()


def open_verdicts(judge: Judge) -> Verdicts:
    """Give what finds a judge's verdicts.

    Raises:
        WrongInput: InvalidPattern.
    """
    check_pattern("verdictPattern", judge.verdict_pattern)
    return Verdicts(judge.verdict_pattern)


def read_judgements(
    judge: Judge, asked: Iterable[tuple[Item, str]], journal: Path
) -> Generator[tuple[Item, Judgement], None, None]:
    """Give what the judge says of answers, in their order.

    Closing the iterator ends the processes that look for verdicts.

    Args:
        asked: the answers, each with the key of what was asked about it.
        journal: file with an outcome for each of the keys.

    Raises:
        WrongInput: InvalidPattern or JournalDamaged.
        Retryable: as `verify_all`.
    """
    offsets: dict[str, int] = {}
    start = 0
    for record, following in read_records_from(journal, 0):
        offsets[record["key"]] = start
        start = following

    with journal.open("rb") as file:

        def questions() -> Iterable[Question[tuple[Item, Judgement]]]:
            for item, key in asked:
                file.seek(offsets[key])
                record = orjson.loads(file.readline())
                told = Judgement("noVerdict" if record["failure"] is None else "failed", _why(record))
                yield Question((item, told), judge.accepted_verdict, _reply(record))

        results = verify_all(open_verdicts(judge), questions(), _TIMEOUT_SECONDS, verifier_workers())
        with closing(results):
            for (item, told), verdict in results:
                if verdict.reason == "correct":
                    yield item, Judgement("accepted", told.why)
                elif verdict.reason == "incorrect":
                    yield item, Judgement("rejected", told.why)
                else:
                    yield item, told


def _reply(record: dict[str, Any]) -> str | None:
    """Give what was said to the end; a reply that was cut off may stop at what it only quotes."""
    if record["failure"] is not None or record["finish_reason"] == CUT_OFF:
        return None
    return str(record["content"])


def _why(record: dict[str, Any]) -> str:
    if record["failure"] is not None:
        return str(record["failure_message"])[:_WHY_CHARACTERS]
    return text_after_reasoning(record["content"]).strip()[-_WHY_CHARACTERS:]

"""What a judge says beside what a verifier says: how often it accepts what that rejects, and the other way round.

Counted by both: `judge.incorrect.accepted` are answers that the verifier finds wrong and the judge right. Of what the
verifier accepts only a sample is asked about, `judge.correct.…`.
"""

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar, get_args

from distill_runtime.judge.verdicts import Decision
from distill_runtime.reporting.report import Bar, Chart
from distill_runtime.verification.verifier import REASONS

Place = TypeVar("Place")

RIGHT: Final = "correct"
"""What a verifier calls an answer that it accepts."""
WRONG: Final = "incorrect"
DECISIONS: Final[tuple[Decision, ...]] = get_args(Decision)
_PREFIX: Final = "judge."


class Agreement:
    """Counts answers by what the verifier says of them and what the judge says."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, Decision]] = Counter()

    def add(self, reason: str, decision: Decision) -> None:
        """Count an answer.

        Args:
            reason: what the verifier says of it.
        """
        self._counts[reason, decision] += 1

    @property
    def counts(self) -> dict[str, int]:
        """The counts for a result: what was asked about, what of that was accepted, and each pair that occurs.

        judge.asked = the sum of all pairs but those with `correct`, which are the sample; judge.accepted is part of it.
        """
        doubted = {pair: number for pair, number in self._counts.items() if pair[0] != RIGHT}
        return {
            f"{_PREFIX}asked": sum(doubted.values()),
            f"{_PREFIX}accepted": sum(number for (_, decision), number in doubted.items() if decision == "accepted"),
            **{f"{_PREFIX}{reason}.{decision}": number for (reason, decision), number in sorted(self._counts.items())},
        }

    @property
    def metrics(self) -> dict[str, float]:
        """How far the two disagree, as the verifier sees it; absent where there is nothing to tell it by.

        judgeFalseAcceptRate: share of what the verifier finds wrong that the judge accepts, of what it decides.
        judgeFalseRejectRate: share of what the verifier finds right that the judge rejects.
        """
        rates: dict[str, tuple[str, Decision]] = {
            "judgeFalseAcceptRate": (WRONG, "accepted"),
            "judgeFalseRejectRate": (RIGHT, "rejected"),
        }
        decided = {
            reason: self._counts[reason, "accepted"] + self._counts[reason, "rejected"] for reason in (RIGHT, WRONG)
        }
        return {
            name: self._counts[reason, decision] / decided[reason]
            for name, (reason, decision) in rates.items()
            if decided[reason]
        }

    def chart(self) -> Chart:
        """Draw what the judge says of what the verifier says so."""
        known = [reason for reason in REASONS if any(self._counts[reason, each] for each in DECISIONS)]
        others = sorted({reason for reason, _ in self._counts} - set(known))
        return Chart(
            title="What the judge says of answers, by what the verifier says",
            parts=("accepted", "rejected", "undecided"),
            share="accepted",
            bars=tuple(Bar(label=_label(reason), parts=self._parts(reason)) for reason in (*known, *others)),
        )

    def _parts(self, reason: str) -> tuple[int, ...]:
        of_it: Mapping[Decision, int] = {decision: self._counts[reason, decision] for decision in DECISIONS}
        return of_it["accepted"], of_it["rejected"], of_it["noVerdict"] + of_it["failed"]

    def __str__(self) -> str:
        counts = self.counts
        accepted, asked = counts["judge.accepted"], counts["judge.asked"]
        return f"the judge accepted {accepted} of {asked} answers that the verifier did not"


def choose_sample(places: Iterable[tuple[str, Place]], number: int) -> set[Place]:
    """Choose at most so many, the same whenever it is done: those whose names have the least digests.

    Args:
        places: each with the name of its answer.
    """
    digests = (
        (hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest(), place) for name, place in places
    )
    return {place for _, place in heapq.nsmallest(number, digests, key=lambda each: each[0])}


def _label(reason: str) -> str:
    return f"{reason} (a sample)" if reason == RIGHT else reason

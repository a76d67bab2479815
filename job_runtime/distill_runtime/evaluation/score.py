"""Counts, rates and the score of a benchmark's samples."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from distill_runtime.evaluation.interval import wilson_interval
from distill_runtime.foundation.rows import CUT_OFF
from distill_runtime.verification.verifier import Reason

UNANSWERED = "unanswered"


@dataclass(frozen=True)
class Sample:
    """One answer to a problem, judged.

    Attributes:
        number: which of the problem's answers, from 0.
        reason: the verdict's; None if the problem was not answered, which counts as wrong.
        extracted: the final answer that was found.
        finish_reason: as the server said; None if the problem was not answered.
    """

    number: int
    reason: Reason | None
    extracted: str | None
    finish_reason: str | None

    @property
    def correct(self) -> bool:
        """Whether it is right."""
        return self.reason == "correct"


@dataclass(frozen=True)
class ProblemResult:
    """A problem and all its samples."""

    uuid: str
    problem: str
    answer: str
    samples: Sequence[Sample]

    @property
    def score(self) -> float:
        """Share of its samples that are right: its pass@1."""
        return sum(sample.correct for sample in self.samples) / len(self.samples)


def count_samples(results: Sequence[ProblemResult]) -> dict[str, int]:
    """Count; samples = correct + incorrect + noAnswer + timeout + crashed + unanswered, each there if it occurs."""
    samples = [sample for result in results for sample in result.samples]
    reasons = Counter(sample.reason or UNANSWERED for sample in samples)
    return {
        "problems": len(results),
        "samples": len(samples),
        "correct": reasons.pop("correct", 0),
        UNANSWERED: reasons.pop(UNANSWERED, 0),
        "truncated": sum(sample.finish_reason == CUT_OFF for sample in samples),
        **dict(sorted(reasons.items())),
    }


def score_metrics(results: Sequence[ProblemResult], counts: dict[str, int]) -> dict[str, float]:
    """Give the score, its 95 % interval and the rates that qualify it, in percent.

    The score is pass@1, the mean over all samples. The interval takes the problems as its trials: samples of one
    problem are not independent, so that more of them make the score steadier but not the benchmark larger.

    Args:
        counts: as `count_samples` gives them.
    """
    share = sum(result.score for result in results) / len(results)
    low, high = wilson_interval(share, len(results))
    return {
        "score": 100 * share,
        "scoreLow": 100 * low,
        "scoreHigh": 100 * high,
        "truncatedRate": 100 * counts["truncated"] / counts["samples"],
        "unansweredRate": 100 * counts[UNANSWERED] / counts["samples"],
    }

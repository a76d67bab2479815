"""A benchmark's samples, judged and counted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from distill_runtime.foundation.rows import CUT_OFF
from distill_runtime.verification.verifier import Reason

UNANSWERED = "unanswered"
ANSWERS_NAME = "answers.jsonl"
"""File of an eval artifact: every sample as it was answered (see `client.journal`)."""
RESULTS_NAME = "results.jsonl"
"""File of an eval artifact: a line a problem with its samples' verdicts."""
REFUSED = "content_filter"
"""The finish_reason of an answer that the server withheld (OpenAI's chat completions API)."""
UNDECIDED = ("timeout", "crashed")
"""What a verifier says of answers that it cannot judge."""


@dataclass(frozen=True)
class Sample:
    """One answer to a problem, judged.

    Attributes:
        number: which of the problem's answers, from 0.
        reason: the verdict's; None if the problem was not answered, which counts as wrong.
        extracted: the final answer that was found.
        finish_reason: as the server said; None if the problem was not answered.
        completion_tokens: length of the answer; None if the server did not tell.
        empty: whether there was nothing in the answer, or nothing after its reasoning.
        decided_by: whose the verdict is: the verifier's, or that of a judge after it.
        why: how the judge's reply ends, if it is the judge's.
    """

    number: int
    reason: Reason | None
    extracted: str | None
    finish_reason: str | None
    completion_tokens: int | None = None
    empty: bool = False
    decided_by: Literal["rules", "judge"] = "rules"
    why: str | None = None

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
    """Count; samples = correct + incorrect + noAnswer + timeout + crashed + unanswered, each there if it occurs.

    Counted once more, if they occur: `empty` and `refused` answers, and `undecided` ones, which are timeout + crashed.
    Those that were cut off are `truncated` and not `empty`, since that says more.
    """
    samples = [sample for result in results for sample in result.samples]
    reasons = Counter(sample.reason or UNANSWERED for sample in samples)
    again = {
        "empty": sum(sample.empty and sample.finish_reason not in (CUT_OFF, REFUSED) for sample in samples),
        "refused": sum(sample.finish_reason == REFUSED for sample in samples),
        "undecided": sum(reasons[reason] for reason in UNDECIDED),
    }
    return {
        "problems": len(results),
        "samples": len(samples),
        "correct": reasons.pop("correct", 0),
        UNANSWERED: reasons.pop(UNANSWERED, 0),
        "truncated": sum(sample.finish_reason == CUT_OFF for sample in samples),
        **dict(sorted(reasons.items())),
        **{name: count for name, count in again.items() if count},
    }

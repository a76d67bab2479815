"""What becomes of a generation: the words that the filter and generate's forecast count by."""

from distill_runtime.contract import FilterParameters

ACCEPTED = "accepted"
FAILED = "failed"
TRUNCATED = "truncated"
TO_BE_JUDGED = "toBeJudged"
"""While it is not known yet what a judge says."""

UNJUDGED = frozenset(
    {
        *(FAILED, "contaminated", "promptMissing", "answerMissing", "generationMissing"),
        *("noVerdict", "noMajority", "timeout", "crashed"),
    }
)
"""Reasons that say nothing about whether the teacher can solve the problem: these generations count for no pass rate,
neither as right nor as wrong."""


def rejected_unseen(unusable: str | None, truncated: bool, parameters: FilterParameters) -> str | None:
    """Say why a generation is rejected without a look at its answer; None if it is not.

    Args:
        unusable: why it cannot be judged, if it cannot.
        truncated: whether it was cut off.
    """
    if unusable is None and truncated and parameters.on_truncated == "drop":
        return TRUNCATED
    return unusable

"""What one evaluation says of itself beside others: the stage compare's word, in its result, manifest and summary."""

from typing import Literal

from pydantic import Field

from distill_runtime.contract.base import Model

Method = Literal["mcnemar", "pairedBootstrap", "unpaired", "none"]
"""How a difference was found.

* mcnemar: the same problems, one answer to each on both sides: exact McNemar test.
* pairedBootstrap: the same problems, more answers: sign-flip test, interval by resampling problems.
* unpaired: of the other one there is a score and a number of problems, no answers.
* none: the two must not be subtracted; `reason` says why.
"""


LARGEST = 10_000_000
"""Problems that a benchmark has at most."""


class Comparison(Model):
    """A score beside that of a baseline. Differences are in points, this evaluation's minus the baseline's."""

    name: str = Field(max_length=64, description="The baseline: an EvalRun, or as a published score is called.")
    method: Method = Field(description="How the difference was found: mcnemar, pairedBootstrap, unpaired or none.")
    score: float | None = Field(default=None, description="The baseline's score in percent.")
    problems: int | None = Field(default=None, ge=0, le=LARGEST, description="Problems that the difference rests on.")
    difference: float | None = Field(default=None, description="Score minus the baseline's, in points.")
    difference_low: float | None = Field(default=None, description="Lower end of the difference's 95 % interval.")
    difference_high: float | None = Field(default=None, description="Upper end of the difference's 95 % interval.")
    p_value: float | None = Field(
        default=None, description="Probability of such a difference, or a greater one, between equal models."
    )
    smallest_difference: float | None = Field(
        default=None, description="Difference in points that so many problems would show in four of five evaluations."
    )
    better: int | None = Field(
        default=None, ge=0, le=LARGEST, description="Problems that this evaluation did better on."
    )
    worse: int | None = Field(default=None, ge=0, le=LARGEST, description="Problems that it did worse on.")
    differs: tuple[str, ...] = Field(default=(), description="What of the two protocol fingerprints is not the same.")
    reason: str | None = Field(default=None, max_length=300, description="Why there is no difference.")


class GateVerdict(Model):
    """Whether an evaluation holds what its gate asks for."""

    held: bool = Field(description="Whether all of it holds.")
    shortfalls: tuple[str, ...] = Field(default=(), description="What does not, each as a sentence.")


class Judgement(Model):
    """What the stage compare finds."""

    comparisons: tuple[Comparison, ...] = Field(
        default=(), max_length=16, description="One a baseline: first EvalRuns, then published scores."
    )
    gate: GateVerdict | None = Field(default=None, description="Absent without a gate.")

"""How a final answer is compared with the reference answer: the same of generations and of a student's samples."""

from typing import Literal, Self

from pydantic import Field, model_validator

from distill_runtime.contract.base import Parameters
from distill_runtime.contract.parameters.fields import EntryPoint
from distill_runtime.contract.parameters.judge import Judge

ComparingVerifier = Literal["math-verify", "exact", "regex", "python", "choice", "numeric"]
"""Those that compare with a reference answer."""
FilterVerifier = Literal[ComparingVerifier, "majority", "recorded", "none"]
"""Those that rows can be filtered by; a benchmark that is judged by nothing has no score."""

COMPARING_VERIFIERS = (
    "math-verify: the last \\boxed{}, symbolically; exact: the last \\boxed{}, or else all that follows the reasoning, "
    "letter by letter; choice: the letter from A to J in the last \\boxed{}, or else after the last 'Answer:' or the "
    "like; numeric: the number in the last \\boxed{}, or else the last one, by its value; regex: what answerPattern "
    "finds, letter by letter; python: entryPoint decides"
)
"""What each of them compares, for descriptions."""


class Tolerance(Parameters):
    """How far a number may be from the reference answer: by the larger of the two."""

    relative: float = Field(default=0.0, ge=0, le=1, description="Share of the reference answer's size.")
    absolute: float = Field(default=0.0, ge=0, description="In its own unit.")


class Verification(Parameters):
    """A verifier, and what it has to be told."""

    verifier: FilterVerifier
    answer_pattern: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="For the verifier regex: a Python regular expression. The answer is its last match in what follows "
        "the reasoning: the first group if it has one, otherwise the whole match.",
    )
    entry_point: EntryPoint | None = Field(
        default=None,
        description="For the verifier python: module:function of a package in the runtime image, one that "
        "verifiers.python in the chart's values allows. It is called with the reference answer and what follows the "
        "reasoning, and returns True or False.",
    )
    tolerance: Tolerance | None = Field(
        default=None,
        description="For the verifier numeric: how far the number may be from the reference answer. Default: not at "
        "all.",
    )
    judge: Judge | None = Field(
        default=None,
        description="A model that is asked about the answers that the verifier does not accept: what it rejects and "
        "what it cannot decide, but nothing that was cut off. Default: the verifier alone decides.",
    )

    @model_validator(mode="after")
    def _check_verifier(self) -> Self:
        if (self.verifier == "regex") != (self.answer_pattern is not None):
            raise ValueError("answerPattern must be set with the verifier regex, and only with it")
        if (self.verifier == "python") != (self.entry_point is not None):
            raise ValueError("entryPoint must be set with the verifier python, and only with it")
        if self.tolerance is not None and self.verifier != "numeric":
            raise ValueError("tolerance must be set with the verifier numeric only")
        if self.judge is not None and self.verifier == "none":
            raise ValueError("judge must not be set with the verifier none, which accepts everything")
        return self

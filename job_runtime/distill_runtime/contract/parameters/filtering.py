"""Rejection sampling."""

from typing import Literal

from pydantic import Field

from distill_runtime.contract.base import Parameters
from distill_runtime.contract.parameters.fields import Column, Fraction, Split, Subset, Uri
from distill_runtime.contract.parameters.verification import COMPARING_VERIFIERS, FilterVerifier, Verification

Keep = Literal["all", "first", "shortest", "longest"]
"""Which of a prompt's right answers are preferred."""


class ProblemSet(Parameters):
    """Problems that training data must not contain."""

    uri: Uri = Field(description="Where the problems are; as in DistillDataset's spec.source.prompts.uri.")
    subset: Subset = None
    split: Split = None
    prompt_column: Column = Field(default="problem", description="Column that holds the problem.")


class Decontamination(Parameters):
    """Leaving out of the training data what an evaluation will ask."""

    benchmarks: tuple[ProblemSet, ...] = Field(
        min_length=1, max_length=64, description="The problems that the student will be evaluated on."
    )
    ngram: int = Field(
        default=8,
        ge=3,
        le=64,
        description="Words in a row that a prompt must share with a benchmark's problem to count as taken from it.",
    )


class PreferencePairs(Parameters):
    """Pairs of a right and a wrong answer to one prompt, for training on preferences."""

    max_per_prompt: int = Field(
        default=1, ge=1, le=256, description="Most pairs of one prompt; no answer is in two of them."
    )


class FilterParameters(Verification):
    """Rejection sampling: which generations are kept."""

    verifier: FilterVerifier = Field(
        default="math-verify",
        description="How a generation's final answer is compared with the reference answer. "
        f"{COMPARING_VERIFIERS}; majority: by math-verify with the answer that most generations of the prompt give, at "
        "least two, whatever the row has; recorded: "
        "the row's own correctnessColumn decides (only with source.rows); none: everything is accepted.",
    )
    on_truncated: Literal["drop", "keep"] = Field(
        default="drop",
        description="What becomes of a generation cut off by maxTokens (finish_reason length): "
        "drop counts it as rejected, keep verifies it like any other.",
    )
    keep: Keep = Field(
        default="all",
        description="Which of a prompt's correct generations are kept, or with maxPerPrompt: are preferred. Of "
        "generations with the same text only one counts.",
    )
    max_per_prompt: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Most generations kept of one prompt. Default: one, or any number with keep all.",
    )
    decontamination: Decontamination | None = Field(
        default=None, description="Reject prompts that are taken from a benchmark, before anything is verified."
    )
    min_acceptance_rate: Fraction = Field(
        default=0.0,
        description="Fail when a smaller share of all generations is accepted, rather than train on what is left. "
        "generate judges a sample of the answers as they arrive, and stops when the rate is out of reach.",
    )
    verify_timeout_seconds: int = Field(
        default=10, ge=1, le=600, description="Longest that verifying one generation may take."
    )

    preference_pairs: PreferencePairs | None = Field(
        default=None,
        description="Write pairs of a kept and a wrong answer to one prompt as well, in the columns prompt, chosen and "
        "rejected, beside the kept rows. Default: none.",
    )

    license: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9.-]*$",
        max_length=64,
        description="Licence to state in the card of the kept data set, by the name that the Hugging Face hub knows it "
        "by, such as apache-2.0. Default: unknown.",
    )

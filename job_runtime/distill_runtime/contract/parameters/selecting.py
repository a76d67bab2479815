"""Choosing among the right answers what is trained on."""

from typing import Literal, Self

from pydantic import Field, model_validator

from distill_runtime.contract.base import Parameters
from distill_runtime.contract.parameters.fields import Fraction
from distill_runtime.contract.parameters.filtering import Keep


class LengthBand(Parameters):
    """How long an answer may be, reasoning included."""

    unit: Literal["tokens", "characters"] = Field(
        default="tokens",
        description="What is counted. tokens: those of the teacher, as its server counted them, which are not the "
        "student's (that limit is pack.maxSampleTokens); only with source.prompts. characters: of the answer's text.",
    )
    min: int = Field(default=0, ge=0, le=1_000_000_000, description="Shorter answers are left out.")
    max: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="Longer answers are left out. Default: none."
    )

    @model_validator(mode="after")
    def _check_band(self) -> Self:
        if self.max is not None and self.max < self.min:
            raise ValueError("max must not be below min")
        return self


class Balance(Parameters):
    """Keeping one kind of row from outweighing the others."""

    column: Literal["source", "teacher"] = Field(
        description="Column of the kept rows whose values are counted. source: where the prompt comes from, which is "
        "whatever the source's sourceColumn holds, be it a subject or a level; teacher: the model that answered."
    )
    max_per_value: int = Field(
        ge=1, le=1_000_000_000, description="Most rows with the same value; rows without a value count as one more."
    )


class SelectParameters(Parameters):
    """Selection: which of the answers that the filter accepts are trained on."""

    min_pass_rate: Fraction = Field(
        default=0.0,
        description="Leave out prompts of whose generations a smaller share is right: what the teacher seldom solves "
        "may be wrong by itself.",
    )
    max_pass_rate: Fraction = Field(
        default=1.0,
        description="Leave out prompts of whose generations a larger share is right: what is always solved may be too "
        "easy to learn from.",
    )
    length: LengthBand | None = Field(default=None, description="How long an answer may be. Default: any length.")
    keep: Keep = Field(
        default="all", description="Which of a prompt's answers are kept, or with maxPerPrompt: are preferred."
    )
    max_per_prompt: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Most answers kept of one prompt. Default: one, or any number with keep all.",
    )
    balance: Balance | None = Field(
        default=None,
        description="Most rows of one source, or of one teacher, chosen by seed. Default: any number.",
    )
    limit: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="Most rows in all, chosen by seed. Default: any number."
    )
    seed: int = Field(
        default=42,
        ge=0,
        le=2_147_483_647,
        description="Decides which rows balance and limit choose. With one seed, fewer rows are always some of more.",
    )

    @model_validator(mode="after")
    def _check_band(self) -> Self:
        if self.max_pass_rate < self.min_pass_rate:
            raise ValueError("maxPassRate must not be below minPassRate")
        return self

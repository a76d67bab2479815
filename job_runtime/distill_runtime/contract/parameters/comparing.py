"""What an evaluation is held against."""

from pydantic import Field

from distill_runtime.contract.base import Parameters


class PublishedScore(Parameters):
    """A score that somebody has published, without its samples."""

    name: str = Field(min_length=1, max_length=40, description="What to call it.")
    score: float = Field(ge=0, le=100, description="pass@1 in percent.")
    problems: int = Field(ge=1, le=10_000_000, description="Problems that it rests on.")


class NoWorseThan(Parameters):
    """An evaluation that the score must not fall behind."""

    name: str = Field(min_length=1, max_length=64, description="Its name among the baselines.")
    margin: float = Field(ge=0, le=100, description="Points by which it may.")


class Gate(Parameters):
    """What an evaluation must hold."""

    min_score: float | None = Field(default=None, ge=0, le=100, description="Lowest score in percent.")
    max_truncated_rate: float | None = Field(
        default=None, ge=0, le=100, description="Highest percentage of answers that were cut off."
    )
    no_worse_than: tuple[NoWorseThan, ...] = Field(default=(), description="What it must not be worse than.")

"""The whole of what an evaluation found, as one machine-readable file: `summary.json`.

The stage eval writes it beside the answers, without comparisons and gate; the stage compare writes it again with them.
Whatever renders a result reads this file and nothing else of the statistics. All scores, rates and errors are in
percent or points.
"""

from typing import Final, Literal

from pydantic import Field, JsonValue

from distill_runtime.contract import Model
from distill_runtime.contract.comparison import Comparison, GateVerdict

SUMMARY_NAME: Final = "summary.json"
FLIPPED_NAME: Final = "flipped.jsonl"

IntervalMethod = Literal["wilson", "effectiveSampleSize"]
"""wilson: one answer a problem. effectiveSampleSize: several; see `interval.clustered_interval`."""


class Interval(Model):
    """A 95 % confidence interval."""

    low: float = Field(description="Its lower end.")
    high: float = Field(description="Its upper end.")
    method: IntervalMethod = Field(description="How it was found.")


class Group(Model):
    """The score of a part of the benchmark."""

    value: str = Field(description="What its problems, or answers, have in common.")
    problems: int = Field(ge=1, description="Problems in it.")
    samples: int = Field(ge=1, description="Answers in it.")
    score: float = Field(description="Mean of its problems, each the percent of its answers there that are right.")
    interval: Interval = Field(description="95 % interval of its score.")
    truncated_rate: float = Field(description="Percent of its answers that were cut off.")


class Breakdown(Model):
    """The scores by one property; every answer is in exactly one group."""

    by: str = Field(description="A column of the benchmark, or completionTokens.")
    groups: tuple[Group, ...] = Field(description="In the order of their values.")


class OverlapOf(Model):
    """How many problems share a run of so many words with a training prompt, and the score of the others."""

    words: int = Field(ge=1, description="Words in a row; a shorter problem is compared as a whole.")
    problems: int = Field(ge=0, description="Problems that share some.")
    rate: float = Field(description="Percent of all problems.")
    clean_problems: int = Field(ge=0, description="Problems that share none.")
    clean_score: float | None = Field(default=None, description="Their score; absent if there are none.")
    clean_interval: Interval | None = Field(default=None, description="95 % interval of it.")


class Overlap(Model):
    """What the benchmark has in common with what the model was trained on; changes nothing of the score."""

    unknown: str | None = Field(default=None, description="Why that is not known; nothing else is there then.")
    training_data: str | None = Field(default=None, description="Artifact whose rows were looked at.")
    digest: str | None = Field(default=None, description="Its digest.")
    rows: int | None = Field(default=None, ge=0, description="Rows in it.")
    by_words: tuple[OverlapOf, ...] = Field(default=(), description="By the length of the run, the shortest first.")


class ProtocolFingerprint(Model):
    """What makes two scores comparable. Absent is what is not known."""

    benchmark: str | None = Field(default=None, description="Digest of the benchmark's content.")
    problems: str | None = Field(default=None, description="Columns, subset, split and limit that are asked.")
    system_prompt: str | None = Field(default=None, description="System message.")
    template: str | None = Field(default=None, description="User message around the problem, examples included.")
    sampling: str | None = Field(default=None, description="Temperature, nucleus, seed and samples a problem.")
    max_tokens: str | None = Field(default=None, description="Longest answer.")
    verifier: str | None = Field(default=None, description="Verifier and its version.")
    server: str | None = Field(default=None, description="What answered: server and versions, or an endpoint.")
    weights: str | None = Field(default=None, description="Digest of the weights, or what a server says of them.")
    tokenizer: str | None = Field(
        default=None,
        description="Digest of the tokenizer's files, chat template included, where weights are served here.",
    )


class Summary(Model):
    """The content of `summary.json`."""

    version: Literal[1] = Field(default=1, description="Of this format.")
    benchmark: str = Field(description="Name that the score is reported under.")
    score: float = Field(description="pass@1: the mean over all answers of all problems.")
    interval: Interval = Field(description="95 % interval of the score, over problems.")
    stderr: float = Field(description="Standard error over problems: would it hold on others of their kind?")
    run_stderr: float | None = Field(
        default=None, description="Standard error over runs on these problems; absent with one sample a problem."
    )
    smallest_difference: float = Field(
        description="Difference to another model that so many problems show in four of five evaluations, if the two "
        "models' results correlate by a half."
    )
    problems: int = Field(ge=1, description="Problems asked.")
    samples: int = Field(ge=1, description="Answers scored.")
    samples_per_problem: int = Field(ge=1, description="Answers to each.")
    pass_at: dict[str, float] = Field(description="Unbiased pass@k by k: percent solved by one of k answers.")
    maj_at: dict[str, float] = Field(description="maj@k by k: percent that the most frequent of k answers solves.")
    truncated_rate: float = Field(description="Percent of the answers that were cut off.")
    unanswered_rate: float = Field(description="Percent of the samples that no answer came for.")
    counts: dict[str, int] = Field(description="As in the manifest.")
    breakdowns: tuple[Breakdown, ...] = Field(default=(), description="Scores by parts of the benchmark.")
    overlap: Overlap | None = Field(default=None, description="Absent in what earlier versions wrote.")
    comparisons: tuple[Comparison, ...] = Field(default=(), description="Beside each baseline.")
    gate: GateVerdict | None = Field(default=None, description="Absent without a gate.")
    protocol: dict[str, JsonValue] = Field(description="How it was asked and scored: the contract's protocol.")
    fingerprint: ProtocolFingerprint = Field(description="What another score has to share to be compared.")

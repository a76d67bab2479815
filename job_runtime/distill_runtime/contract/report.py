"""What a stage says: progress while it runs, a result when it ends, an exit code for the Job controller."""

from typing import Literal

from pydantic import Field

from distill_runtime.contract.artifact import ArtifactReference, InputFingerprint
from distill_runtime.contract.base import Model
from distill_runtime.contract.comparison import Judgement

EXIT_DONE = 0
"""The stage finished, or found its artifact already complete."""
EXIT_RETRY = 1
"""Something failed that may not fail again."""
EXIT_WRONG_INPUT = 78
"""The input is wrong and will be wrong again: do not retry (sysexits.h, EX_CONFIG)."""
EXIT_TERMINATED = 143
"""Ended by SIGTERM, with all progress kept."""

FailureClass = Literal["workload", "infrastructure", "unknown"]
"""Whose fault a failure is: that of what was asked for, or of what it runs on."""

RESULT_LIMIT = 4096
"""Bytes that a container's termination message may have (Kubernetes API, Container.terminationMessagePath)."""


class Progress(Model):
    """Body of `GET /progress`. Numbers count from the stage's start, including what an earlier Pod did."""

    stage: str
    done: int = Field(ge=0, description="Units finished.")
    total: int | None = Field(default=None, ge=0, description="Units in all; absent while unknown.")
    unit: str = Field(description="What is counted: generations, rows, samples, steps, problems.")
    rate: float | None = Field(default=None, ge=0, description="Units a second, recent.")
    eta_seconds: float | None = Field(default=None, ge=0, description="Seconds left at the recent rate.")
    message: str = Field(default="", description="What it does now, or waits for, in plain words.")
    counts: dict[str, int] = Field(default_factory=dict, description="Counts so far, by name.")
    metrics: dict[str, float] = Field(default_factory=dict, description="Current figures: loss, tokensPerSecond …")


class Result(Model):
    """The last word of a stage: its termination message, at most `RESULT_LIMIT` bytes of JSON."""

    outcome: Literal["Succeeded", "WrongInput", "Failed", "Terminated"]
    reason: str = Field(pattern="^[A-Z][A-Za-z0-9]*$", description="CamelCase, for a condition's reason.")
    message: str = Field(description="What happened and what to do, in plain words.")
    failure_class: FailureClass | None = Field(
        default=None, description="Whose fault it is when it failed, if the stage can tell."
    )
    artifact: ArtifactReference | None = Field(default=None, description="What was written, when it succeeded.")
    counts: dict[str, int] = Field(default_factory=dict, description="Counts, as in the manifest.")
    metrics: dict[str, float] = Field(default_factory=dict, description="Figures, as in the manifest.")
    inputs: tuple[InputFingerprint, ...] = Field(default=(), description="What was read, as in the manifest.")
    judgement: Judgement | None = Field(default=None, description="What the stage compare finds, as in the manifest.")

    def to_termination_message(self) -> str:
        """Give the JSON text in at most `RESULT_LIMIT` bytes.

        What is too long loses its last inputs, which the manifest has, and then the end of its message.
        """
        text = self.model_dump_json(by_alias=True, exclude_none=True)
        excess = len(text.encode()) - RESULT_LIMIT
        if excess <= 0:
            return text
        if self.inputs:
            return self.model_copy(update={"inputs": self.inputs[:-1]}).to_termination_message()
        # In JSON an escaped character takes up to six bytes: cut until the text fits, not by arithmetic.
        characters = max(0, len(self.message) - max(excess // 6, 1) - 1)
        if not characters:
            raise ValueError(f"a result's counts and metrics alone exceed {RESULT_LIMIT} bytes")
        shorter = self.model_copy(update={"message": self.message[:characters] + "…"})
        return shorter.to_termination_message()

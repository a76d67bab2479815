"""What the student is asked, and how it is scored."""

from typing import Annotated

from pydantic import Field

from distill_runtime.contract.identity import OPERATIONAL
from distill_runtime.contract.parameters.fields import (
    BOXED_SYSTEM_PROMPT,
    Column,
    Split,
    Subset,
    Uri,
)
from distill_runtime.contract.parameters.problems import ProblemColumns
from distill_runtime.contract.parameters.prompting import Prompting
from distill_runtime.contract.parameters.verification import COMPARING_VERIFIERS, ComparingVerifier, Verification


class Benchmark(ProblemColumns):
    """The problems that the student is asked."""

    name: str = Field(min_length=1, max_length=253, description="Name to report the score under, such as math-500.")
    uri: Uri = Field(description="Where the problems are; as in DistillDataset's spec.source.prompts.uri.")
    subset: Subset = None
    split: Split = None
    limit: int | None = Field(default=None, ge=1, description="Use only the first so many problems.")
    group_columns: tuple[Column, ...] = Field(
        default=(),
        max_length=8,
        description="Columns to break the score down by, such as subject and level; into the artifact's summary.json.",
    )


class Protocol(Verification, Prompting):
    """How the student is asked and scored: what makes two scores comparable."""

    system_prompt: str = Field(
        default=BOXED_SYSTEM_PROMPT, max_length=65536, description="System message; empty for none."
    )
    samples_per_problem: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Answers asked for each problem; the score is pass@1, their mean.",
    )
    max_tokens: int = Field(default=32768, ge=1, le=1_048_576, description="Longest answer in tokens.")
    temperature: float = Field(default=0.6, ge=0, le=2, description="Sampling temperature; 0 is greedy decoding.")
    top_p: float = Field(default=0.95, gt=0, le=1, description="Nucleus sampling: total probability kept.")
    seed: int = Field(default=42, ge=0, le=2_147_483_647, description="Seed of sampling.")
    verifier: ComparingVerifier = Field(
        default="math-verify",
        description=f"How an answer is compared with the reference answer. {COMPARING_VERIFIERS}.",
    )
    verify_timeout_seconds: int = Field(
        default=30, ge=1, le=600, description="Longest that verifying one answer may take."
    )
    max_concurrent_requests: Annotated[int, OPERATIONAL] = Field(
        default=100, ge=1, le=10_000, description="Requests under way at once."
    )
    request_timeout_seconds: Annotated[int, OPERATIONAL] = Field(
        default=3600, ge=1, le=86_400, description="Longest a single request may take."
    )

"""The teacher, and how it is asked."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from distill_runtime.contract.base import Parameters
from distill_runtime.contract.identity import OPERATIONAL
from distill_runtime.contract.parameters.fields import MAX_ATTEMPTS, UNAVAILABLE_TIMEOUT_SECONDS
from distill_runtime.contract.parameters.prompting import Prompting


@dataclass(frozen=True)
class _Asked:
    """Marks a URL."""


ENDPOINT: Final = _Asked()
"""Annotates a URL of a server that is asked, which the operator holds against those that the chart allows."""
Endpoint = Annotated[str, Field(pattern="^https?://", max_length=2048), ENDPOINT]


class Sampling(Parameters):
    """How the teacher samples."""

    generations_per_prompt: int = Field(default=1, ge=1, le=256, description="Answers asked for each prompt.")
    max_tokens: int = Field(
        default=16384, ge=1, le=1_048_576, description="Longest answer in tokens; longer ones are truncated."
    )
    temperature: float = Field(default=0.6, ge=0, le=2, description="Sampling temperature.")
    top_p: float = Field(default=0.95, gt=0, le=1, description="Nucleus sampling: total probability kept.")
    seed: int | None = Field(
        default=None,
        ge=0,
        le=2_147_483_647,
        description="Seed sent with each request, plus the generation's index.",
    )
    retry_truncated_max_tokens: int | None = Field(
        default=None,
        ge=1,
        le=1_048_576,
        description="Ask once more, with so many tokens, for an answer that maxTokens cut off; must be larger. "
        "Default: it stays as it is, and filter.onTruncated decides.",
    )

    @model_validator(mode="after")
    def _check_retry(self) -> Self:
        if self.retry_truncated_max_tokens is not None and self.retry_truncated_max_tokens <= self.max_tokens:
            raise ValueError("retryTruncatedMaxTokens must be larger than maxTokens")
        return self


class Price(Parameters):
    """What the teacher's tokens cost."""

    prompt_tokens_per_million: float = Field(ge=0, description="Price of a million prompt tokens.")
    completion_tokens_per_million: float = Field(
        ge=0, description="Price of a million completion tokens, reasoning included."
    )
    currency: str = Field(default="USD", pattern="^[A-Z]{3}$", description="Its ISO 4217 code.")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> str:
        """Say what so many tokens cost, such as `12.34 USD`; exact up to the rounding to hundredths."""
        millions = prompt_tokens * Decimal(str(self.prompt_tokens_per_million)) + completion_tokens * Decimal(
            str(self.completion_tokens_per_million)
        )
        return f"{(millions / 1_000_000).quantize(Decimal('0.01'))} {self.currency}"


class TeacherModel(Parameters):
    """One of several teachers: a model, where it is served, and how much of the work is its."""

    model: str = Field(min_length=1, max_length=256, description="Model name to send; it must be one the server knows.")
    endpoints: Annotated[tuple[Endpoint, ...], OPERATIONAL] = Field(
        min_length=1, max_length=64, description="Base URLs of OpenAI-compatible servers that serve it."
    )
    weight: int = Field(
        default=1, ge=1, le=100, description="Its share of the generations, and of the requests, beside the others'."
    )
    price: Annotated[Price | None, OPERATIONAL] = Field(
        default=None, description="Price of its tokens. Default: what it costs is not shown."
    )


class TeacherParameters(Prompting):
    """The teacher: OpenAI-compatible endpoints that answer the prompts."""

    endpoints: Annotated[tuple[Endpoint, ...], OPERATIONAL] = Field(
        min_length=1,
        max_length=64,
        description="Base URLs of OpenAI-compatible servers, such as http://deepseek-r1.teachers:1025/v1. "
        "Requests go to <endpoint>/chat/completions, to the least busy endpoint first.",
    )
    model: str = Field(min_length=1, max_length=256, description="Model name to send; it must be one the server knows.")
    weight: int = Field(default=1, ge=1, le=100, description="With additionalModels, this model's share; see there.")
    additional_models: tuple[TeacherModel, ...] = Field(
        default=(),
        max_length=7,
        description="Other models that answer as well. Each prompt's generations are dealt to model and these by "
        "weight: with two models of weight 1 and generationsPerPrompt 4, each answers twice. Which one answers which "
        "is fixed. Template and sampling are the same for all.",
    )
    system_prompt: str = Field(
        default="", max_length=65536, description="System message sent before each prompt; empty for none."
    )
    sampling: Sampling = Field(default=Sampling(), description="How the teacher samples.")
    max_concurrent_requests: Annotated[int, OPERATIONAL] = Field(
        default=100, ge=1, le=10_000, description="Most requests under way at once, over all shards together."
    )
    request_timeout_seconds: Annotated[int, OPERATIONAL] = Field(
        default=3600, ge=1, le=86_400, description="Longest a single request may take."
    )
    stall_timeout_seconds: Annotated[int | None, OPERATIONAL] = Field(
        default=None,
        ge=1,
        le=86_400,
        description="Stream the answers, and ask again when nothing has come for so long, the first token included. "
        "Default: answers come whole, and only requestTimeoutSeconds limits them.",
    )
    max_attempts: Annotated[int, OPERATIONAL] = Field(
        default=MAX_ATTEMPTS,
        ge=1,
        le=1000,
        description="Requests that may fail (429, 5xx, time-out, broken connection, unreadable answer) before a "
        "generation is recorded as failed. Only those count that fail while the teacher answers others, be it a "
        "trivial question; of 429 only those that come alone, between answers. During an outage requests wait.",
    )
    unavailable_timeout_seconds: Annotated[int, OPERATIONAL] = Field(
        default=UNAVAILABLE_TIMEOUT_SECONDS,
        ge=1,
        le=86_400,
        description="Give up, keeping all answers, when no endpoint has answered anything for so long, not even a "
        "trivial question; the stage is then started again.",
    )
    token_budget: int | None = Field(
        default=None,
        ge=1,
        description="Ask nothing more once the answers have so many tokens, over all shards together; what is under "
        "way is finished, and what is left is counted as notAsked. The endpoints must report usage.",
    )
    request_budget: int | None = Field(
        default=None,
        ge=1,
        description="Ask nothing more after so many requests, retries included, over all shards together; otherwise "
        "as tokenBudget.",
    )
    price: Annotated[Price | None, OPERATIONAL] = Field(
        default=None, description="Price of its tokens, from which status.cost follows. Default: no cost is shown."
    )

    @property
    def models(self) -> tuple[TeacherModel, ...]:
        """All who answer, the first one first."""
        first = TeacherModel(model=self.model, endpoints=self.endpoints, weight=self.weight, price=self.price)
        return (first, *self.additional_models)

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        if len({self.model, *(each.model for each in self.additional_models)}) <= len(self.additional_models):
            raise ValueError("additionalModels must have names of their own, by which they are told apart")
        return self

"""The probe of a selection: a model whose pass rate says how hard a prompt is."""

from typing import Annotated

from pydantic import ConfigDict, Field

from distill_operator.api.common import SecretKeyReference
from distill_operator.api.rules import Rule, with_rules
from distill_runtime.contract import Model, Sampling
from distill_runtime.contract.identity import OPERATIONAL
from distill_runtime.contract.parameters.teacher import Endpoint


class ProbeEndpoint(Model):
    """Where the probe is served, and by which key."""

    url: Annotated[Endpoint, OPERATIONAL] = Field(
        description="Base URL of an OpenAI-compatible server, such as http://h/v1."
    )
    model: str = Field(min_length=1, max_length=256, description="Model name to send; it must be one the server knows.")
    api_key_secret_ref: SecretKeyReference | None = Field(
        default=None,
        description="Secret that holds the bearer token of the probe's endpoint. Default: none is sent, nor that of "
        "others.",
    )


class Probe(Model):
    """Another model that answers the prompts, for the pass rate alone."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            Rule(
                "self.sampling.generationsPerPrompt == 1 || self.sampling.temperature > 0.0",
                "several answers of a probe at temperature 0 are all the same: raise probe.sampling.temperature or set "
                "probe.sampling.generationsPerPrompt to 1",
                field="sampling",
            ),
            Rule(
                "!has(self.sampling.retryTruncatedMaxTokens)"
                " || self.sampling.retryTruncatedMaxTokens > self.sampling.maxTokens",
                "probe.sampling.retryTruncatedMaxTokens must be larger than probe.sampling.maxTokens",
                field="sampling",
            ),
        )
    )

    endpoint: ProbeEndpoint = Field(description="Where it is served.")
    sampling: Sampling = Field(
        default=Sampling(), description="How it samples. Prompts, template and examples are the teacher's."
    )
    max_concurrent_requests: Annotated[int, OPERATIONAL] = Field(
        default=100, ge=1, le=10_000, description="Most requests under way at once."
    )


class ProbeStatus(Model):
    """What has come of a probe so far."""

    generations: int | None = Field(default=None, description="Generations settled: answered, or failed for good.")
    tokens: int | None = Field(default=None, description="Tokens of its answers.")
    pass_rate: float | None = Field(default=None, description="Share of its generations with the right answer.")

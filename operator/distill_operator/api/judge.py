"""The judge of a filter or a protocol, with what only the operator needs to know."""

from typing import Any, Final

from pydantic import ConfigDict, Field

from distill_operator.api.common import SecretKeyReference
from distill_operator.api.rules import Rule, with_rules
from distill_runtime.contract import Judge, Model
from distill_runtime.contract.parameters import JudgeEndpoint
from distill_runtime.contract.parameters.judge import ANSWER, REFERENCE


class JudgeEndpointSpec(JudgeEndpoint):
    """Where the judge is served, and by which key."""

    api_key_secret_ref: SecretKeyReference | None = Field(
        default=None,
        description="Secret that holds the bearer token of the judge's endpoint. Default: none is sent, nor that of "
        "others.",
    )


class JudgeSpec(Judge):
    """A judge, with the rule that the schema alone cannot say."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            Rule(
                f"self.promptTemplate.contains('{REFERENCE}') && self.promptTemplate.contains('{ANSWER}')",
                f"judge.promptTemplate must have {REFERENCE} and {ANSWER} in it: there is nothing to judge without",
                field="promptTemplate",
            )
        )
    )

    endpoint: JudgeEndpointSpec = Field(description="Where it is served.")


JUDGE_KEY_REFERENCE: Final[Any] = {"judge": {"endpoint": {"api_key_secret_ref"}}}
"""What of a filter or a protocol its stage is not told."""


class JudgeStatus(Model):
    """What a judge has said so far."""

    asked: int = Field(description="Answers that the verifier does not accept and the judge was asked about.")
    accepted: int = Field(description="Those of them that it accepts.")
    no_verdict: int = Field(description="Those of them on which it has given no verdict, so that the verifier's stays.")
    false_accept_rate: float | None = Field(
        default=None,
        description="As the verifier sees it: share of the answers that are wrong by the verifier and right by the "
        "judge, of those that the judge decides. Some of them may be the verifier's mistakes.",
    )
    false_reject_rate: float | None = Field(
        default=None,
        description="As the verifier sees it: share of a sample of the answers that are right by the verifier which "
        "the judge rejects, of those that it decides.",
    )

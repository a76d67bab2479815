"""Kept rows become samples, or are rejected with a reason; a template that rejects most of them is refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from distill_runtime.contract import PackParameters
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.packing.chat import Exchange, Message, Unwritable, render
from distill_runtime.packing.tokens import ANSWERED, Sample, SampleTokenizer

TOO_LONG: Final = "tooLong"
TEMPLATE_UNSUITABLE: Final = "templateUnsuitable"
CONTROL_TOKENS: Final = "controlTokens"

FIRST_ROWS: Final = 16
"""Rows that are tried first: if none of them becomes a conversation, none of the others will."""

_REMEDIES: Final = {
    TEMPLATE_UNSUITABLE: "Use a template that starts a message the way it prompts for one, and writes it whole, "
    "reasoning included.",
    CONTROL_TOKENS: "Have the teacher's server leave special tokens out of its answers, or take them out of the rows.",
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a row is left out.

    Attributes:
        reason: one of the words above.
        why: the same for people.
        tokens: length of the sample, if there is one.
    """

    reason: str
    why: str
    tokens: int | None = None


class RowTokenizer:
    """Tokenises rows of `rows.kept_row`.

    Raises:
        WrongInput: TemplateUnsuitable, if the template ends no message, or does not write `systemPrompt`.
    """

    def __init__(self, tokenizer: SampleTokenizer, parameters: PackParameters) -> None:
        self._tokenizer = tokenizer
        self._longest = parameters.max_sample_tokens or parameters.sequence_length
        self._system_prompt = parameters.system_prompt
        self._end_token_id = tokenizer.end_token_id
        if self._system_prompt:
            self._check_system_prompt()

    def samples(self, lines: Sequence[bytes]) -> list[Sample | Rejection]:
        """Tokenise many rows at once; give what becomes of each."""
        written = [self._exchange(line) for line in lines]
        tokenised = iter(self._tokenizer.samples([text for text in written if isinstance(text, Exchange)]))
        return [self._checked(next(tokenised)) if isinstance(text, Exchange) else text for text in written]

    def check_first(self, lines: Sequence[bytes]) -> None:
        """Make sure of the template, before a million rows are rejected.

        Raises:
            WrongInput: TemplateUnsuitable, if none of these rows can be written.
        """
        outcomes = self.samples(lines)
        failed = [outcome for outcome in outcomes if isinstance(outcome, Rejection) and outcome.reason != TOO_LONG]
        if failed and len(failed) == len(outcomes):
            raise WrongInput(
                "TemplateUnsuitable",
                f"none of the first {len(failed)} rows can be written in the tokenizer's chat template. Of the first: "
                f"{failed[0].why}. {_REMEDIES[failed[0].reason]}",
            )

    def _exchange(self, line: bytes) -> Exchange | Rejection:
        messages: list[Message] = orjson.loads(line)["messages"]
        for message in messages:
            token = self._tokenizer.control_token_in(message["content"])
            if token is not None:
                return Rejection(
                    CONTROL_TOKENS, f"the {message['role']} message has the control token {token} written out in it"
                )
        if self._system_prompt and messages[0]["role"] != "system":
            messages.insert(0, Message(role="system", content=self._system_prompt))
        try:
            return render(self._tokenizer.template, messages)
        except Unwritable as error:
            return Rejection(TEMPLATE_UNSUITABLE, f"the chat template does not do: {error}")

    def _checked(self, sample: Sample) -> Sample | Rejection:
        end = int(sample.tokens[-1])
        if end != self._end_token_id:
            token = self._tokenizer.token
            return Rejection(
                TEMPLATE_UNSUITABLE,
                f"the chat template ends this message with {token(end)!r}, others with {token(self._end_token_id)!r}, "
                "so the model would not learn where to stop",
            )
        if len(sample.tokens) > self._longest:
            return Rejection(TOO_LONG, f"{len(sample.tokens):,} tokens", len(sample.tokens))
        return sample

    def _check_system_prompt(self) -> None:
        token = self._tokenizer.control_token_in(self._system_prompt)
        if token is not None:
            raise WrongInput(
                "TemplateUnsuitable",
                f"pack.systemPrompt has the tokenizer's control token {token} written out in it; leave it out",
            )
        template, conversation = self._tokenizer.template, ANSWERED
        try:
            render(template, conversation)
        except Unwritable:  # the rows will say what it cannot do without a system message either
            return
        try:
            render(template, (Message(role="system", content=self._system_prompt), *conversation))
        except Unwritable as error:
            raise WrongInput(
                "TemplateUnsuitable",
                f"the tokenizer's chat template does not take the system message of pack.systemPrompt: {error}. Use a "
                'template that does, or set pack.systemPrompt to "" for none',
            ) from error


def refuse_if_most_failed(rows: int, failed: Mapping[str, int], rejects: str) -> None:
    """Refuse a template that does for some rows, but not for most.

    Args:
        rows: all that were tried.
        failed: how many of them failed, by the words above; too long ones do not count.
        rejects: file that says why for each.

    Raises:
        WrongInput: TemplateUnsuitable.
    """
    number = sum(failed[reason] for reason in _REMEDIES)
    if 2 * number > rows:
        raise WrongInput(
            "TemplateUnsuitable",
            f"{number} of {rows} rows cannot be written in the tokenizer's chat template; {rejects} says why for each. "
            + _REMEDIES[max(_REMEDIES, key=lambda reason: failed[reason])],
        )

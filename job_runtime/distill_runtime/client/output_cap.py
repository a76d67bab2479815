"""Noticing that a server cuts answers earlier than it was asked to.

Some servers have a limit of their own, below the `max_tokens` of the request, and apply it without a word: MindIE's
maxIterTimes, vLLM's max_model_len less the prompt. A run that goes on makes a hundred thousand answers without an
end. Such a limit shows in the answers: several stop at exactly the same number of tokens, with finish reason
`length`, below what was asked for, and no answer is longer.
"""

from distill_runtime.client.values import Answer, Outcome
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.rows import CUT_OFF

_CUT_ANSWERS = 5
_CUT_SHARE = 0.01


def is_cut_short(outcome: Outcome) -> bool:
    """Tell whether an answer was cut off with fewer tokens than were asked for; False if nobody counted them."""
    if not isinstance(outcome, Answer) or outcome.reply.completion_tokens is None:
        return False
    return outcome.reply.finish_reason == CUT_OFF and outcome.reply.completion_tokens < _tokens_asked_for(outcome)


class OutputCapDetector:
    """Looks at outcomes one by one. Answers without token counts tell it nothing."""

    def __init__(self) -> None:
        self._answers = 0
        self._output = _Longest()
        self._context = _Longest()

    def observe(self, outcome: Outcome) -> None:
        """Take an outcome into account.

        Raises:
            WrongInput: EndpointCapsOutput, once it is certain.
        """
        if not isinstance(outcome, Answer) or outcome.reply.completion_tokens is None:
            return
        reply, tokens, asked = outcome.reply, outcome.reply.completion_tokens, _tokens_asked_for(outcome)
        self._answers += 1
        cut_short = is_cut_short(outcome)
        enough = max(_CUT_ANSWERS, self._answers * _CUT_SHARE)
        if self._output.count(tokens, cut_short) >= enough:
            raise _capped(outcome, f"cuts answers at {tokens} tokens, although {asked} are asked for")
        context = tokens + (reply.prompt_tokens or 0)
        if self._context.count(context, cut_short) >= enough:
            raise _capped(outcome, f"cuts prompt and answer at {context} tokens, although {asked} are asked for")


class _Longest:
    """The largest number seen, and how many answers were cut there."""

    def __init__(self) -> None:
        self._tokens = 0
        self._cut = 0

    def count(self, tokens: int, cut: bool) -> int:
        if tokens > self._tokens:
            self._tokens, self._cut = tokens, 0
        self._cut += cut and tokens == self._tokens
        return self._cut


def _tokens_asked_for(answer: Answer) -> int:
    """Give the max_tokens of the request that the answer is to: the first one, or that for a longer one."""
    body = answer.request.body if answer.discarded is None else answer.request.body_if_truncated
    assert body is not None
    return int(body["max_tokens"])


def _capped(answer: Answer, what: str) -> WrongInput:
    return WrongInput(
        "EndpointCapsOutput", f"{answer.endpoint} {what}; raise the server's own limit or lower maxTokens"
    )

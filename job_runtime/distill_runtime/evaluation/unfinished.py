"""Reasoning that was cut off is no answer, whatever is in a box in it.

`foundation.reasoning` sees that where the text has the opening tag. Where the chat template ends in it (as that of
DeepSeek-R1 does), the server leaves only the closing tag, and of an answer that was cut off before that neither.
"""

from distill_runtime.foundation.reasoning import REASONING_END, REASONING_START
from distill_runtime.foundation.rows import CUT_OFF


def closes_unopened(content: str) -> bool:
    """Tell whether an answer shows that the prompt has opened the reasoning, for all of them."""
    return REASONING_END in content and REASONING_START not in content


def may_be_reasoning(content: str, finish_reason: str | None) -> bool:
    """Tell whether an answer is nothing but unfinished reasoning, if the prompt has opened it."""
    return finish_reason == CUT_OFF and REASONING_END not in content

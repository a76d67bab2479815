"""Reasoning that was cut off is no answer, whatever is in a box in it.

`foundation.reasoning` sees that where the text has the opening tag. Where the chat template ends in it (as that of
DeepSeek-R1 does), the server leaves only the closing tag, and of an answer that was cut off before that neither.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from distill_runtime.foundation.reasoning import REASONING_END, REASONING_START
from distill_runtime.foundation.rows import CUT_OFF


def opens_in_prompt(records: Iterable[Mapping[str, Any]]) -> bool:
    """Tell from the answers, as the journal has them, whether the prompt has opened the reasoning."""
    return any(
        REASONING_END in content and REASONING_START not in content
        for record in records
        if (content := record["content"]) is not None
    )


def judged_text(record: Mapping[str, Any], reasoning_is_open: bool) -> str:
    """Give the text of an answer with the opening tag that it is known to lack.

    Args:
        record: an answer, as the journal has it.
        reasoning_is_open: as `opens_in_prompt` says of all of them.
    """
    content: str = record["content"]
    unfinished = reasoning_is_open and record["finish_reason"] == CUT_OFF and REASONING_END not in content
    return REASONING_START + content if unfinished else content

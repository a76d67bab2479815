"""The rows that one stage hands to the next: JSON lines."""

from collections.abc import Mapping
from typing import Any

GENERATIONS_NAME = "generations.jsonl"
"""File of a generate artifact: what the teacher answered (see `client.journal`)."""
PROMPTS = "prompts"
"""What a generate artifact calls the fingerprint of what was asked."""
KEPT_NAME = "kept.jsonl"
"""File of an artifact of filter or select: rows as `kept_row` makes them."""
REJECTS_NAME = "rejects.jsonl"
"""File of an artifact: what was left out, each with its uuid, its generation and the reason."""

CUT_OFF = "length"
"""The finish_reason of an answer that ran into its limit of tokens (OpenAI's chat completions API)."""


def kept_row(
    uuid: str,
    generation: int,
    prompt: str,
    answer: str,
    text: str,
    *,
    source: str | None,
    tokens: int | None,
    teacher: str | None,
    decided_by: str,
) -> Mapping[str, Any]:
    """Make the row of a kept generation, in the shape of published reasoning data sets.

    Args:
        uuid: of the prompt.
        generation: index of the generation, from 0.
        prompt: its text, which is the user's message.
        answer: the reference answer.
        text: what the teacher wrote, reasoning included.
        source: where the prompt comes from, if that is known.
        tokens: of the text, as the teacher's server counted them, if it did.
        teacher: the model that wrote it, if that is known.
        decided_by: who says that it is right: rules, or a judge after them.
    """
    return {
        "uuid": uuid,
        "generation": generation,
        "prompt": prompt,
        "answer": answer,
        "source": source,
        "tokens": tokens,
        "teacher": teacher,
        "decided_by": decided_by,
        "messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}],
    }

"""The two parts of a reasoning model's answer, and the one text they are trained on as.

Servers differ: some give the reasoning in a field of its own, some leave `<think>…</think>` in the content, and some
leave only the closing tag, because the opening one ended the prompt.
"""

REASONING_START = "<think>"
REASONING_END = "</think>"


def joined(reasoning: str | None, content: str) -> str:
    """Give the whole text of an answer, with its reasoning between tags."""
    if reasoning:
        return f"{REASONING_START}\n{reasoning.strip()}\n{REASONING_END}\n\n{content.lstrip()}"
    if REASONING_END in content and REASONING_START not in content:
        return f"{REASONING_START}\n{content.lstrip()}"
    return content


def text_after_reasoning(text: str) -> str:
    """Give the part of a text that answers: what follows the last `</think>`.

    A text whose `<think>` never closes was cut off while reasoning, so nothing of it answers.
    """
    _, separator, answer = text.rpartition(REASONING_END)
    if separator:
        return answer
    return "" if REASONING_START in text else text

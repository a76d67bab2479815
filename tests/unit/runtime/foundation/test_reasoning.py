"""An answer's reasoning, wherever the server put it."""

import pytest

from distill_runtime.foundation.reasoning import joined, text_after_reasoning


@pytest.mark.parametrize(
    ("reasoning", "content", "text"),
    [
        ("because", "so 5", "<think>\nbecause\n</think>\n\nso 5"),
        ("\nbecause\n", "\n\nso 5", "<think>\nbecause\n</think>\n\nso 5"),
        (None, "<think>\nbecause\n</think>\n\nso 5", "<think>\nbecause\n</think>\n\nso 5"),
        ("", "because\n</think>\n\nso 5", "<think>\nbecause\n</think>\n\nso 5"),
        (None, "so 5", "so 5"),
    ],
)
def test_joined(reasoning: str | None, content: str, text: str) -> None:
    assert joined(reasoning, content) == text


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"<think>\boxed{1}</think>\boxed{2}", r"\boxed{2}"),
        (r"\boxed{1}</think>two", "two"),
        ("<think>cut off while reasoning, \\boxed{1}", ""),
        ("no reasoning", "no reasoning"),
    ],
)
def test_text_after_reasoning(text: str, answer: str) -> None:
    assert text_after_reasoning(text) == answer

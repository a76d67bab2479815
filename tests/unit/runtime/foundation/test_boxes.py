"""A box that is asked for, or looked for, on one side alone is said."""

import pytest

from distill_runtime.foundation.boxes import one_sided_box, unasked_box

BOX, BARE = r"Put it within \boxed{}.", "Think."


@pytest.mark.parametrize(
    ("verifier", "prompts", "warned"),
    [
        ("math-verify", (BARE, ""), True),
        ("math-verify", (BARE, BOX), False),
        ("exact", (BARE,), False),
        ("choice", (BARE,), False),
        ("none", (BARE,), False),
    ],
)
def test_a_verifier_that_finds_answers_in_boxes_alone_wants_one_asked_for(
    verifier: str, prompts: tuple[str, ...], warned: bool
) -> None:
    assert (unasked_box(verifier, prompts) is not None) is warned


@pytest.mark.parametrize(
    ("trained_with", "asked_with", "words"),
    [
        (BOX, (BARE, BOX), None),
        (BARE, (BARE,), None),
        (BARE, (BOX,), r"the protocol asks for \boxed{}, and pack.systemPrompt"),
        (BOX, (BARE,), r"pack.systemPrompt, which it was trained with, asks for \boxed{}"),
    ],
)
def test_training_and_asking_agree_on_it(trained_with: str, asked_with: tuple[str, ...], words: str | None) -> None:
    warning = one_sided_box(trained_with, asked_with)
    assert words in warning if words and warning else warning is None and words is None

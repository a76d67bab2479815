"""The verifier choice: which letter an answer names, if it names one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_runtime.contract.parameters import LETTERS
from distill_runtime.verification.choice_answers import ChoiceAnswers

VERIFIER = ChoiceAnswers()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"so \boxed{C}", "C"),
        (r"\boxed{c}", "C"),
        (r"\boxed{\text{(C)}}", "C"),
        (r"\boxed{\textbf{C}.}", "C"),
        (r"\boxed{C) Paris, the capital}", "C"),
        (r"\boxed{A} no, \boxed{B}", "B"),
        ("Answer: C", "C"),
        ("**Answer:** C", "C"),
        ("ANSWER: $C$", "C"),
        ("The correct answer is (C) Paris.", "C"),
        ("the answer is **C**, not B", "C"),
        ("Answer: A\nOn reflection:\nAnswer: D", "D"),
        (r"The answer is \textbf{C}.", "C"),
        ("<think>Answer: A</think>\nC", "C"),
        ("The correct option is B because of it", "B"),
        ("The answer is option B.", "B"),
        ("the answer is: B", "B"),
        ("Answer: A", "A"),
        ("the answer is A.", "A"),
        # Words and several letters name nothing.
        ("Option B is wrong, and option C too", None),
        ("the answer D would be wrong", None),
        ("The answer is A gas", None),
        ("Answer: I think so", None),
        ("Answer: Because", None),
        ("<think>Answer: A</think>", None),
        ("<think>Answer: A", None),
        ("Paris or Rome", None),
        ("", None),
        # A box without a letter is compared as a text.
        (r"\boxed{Paris}", "Paris"),
        (r"\boxed{A and C}", "A and C"),
        (r"\boxed{B and C}", "B and C"),
        (r"\boxed{B) or C)}", "B) or C)"),
        (r"\boxed{A}, \boxed{C}", "A, C"),
        (r"\boxed{K}", "K"),
    ],
)
def test_the_letter_is_found(text: str, found: str | None) -> None:
    assert VERIFIER.extract(text) == found


@pytest.mark.parametrize(
    ("reference", "answer", "right"),
    [
        ("C", "C", True),
        ("c", "C", True),
        ("(C)", "C", True),
        ("C. Paris", "C", True),
        ("2", "C", True),
        ("0", "A", True),
        ("9", "J", True),
        ("1", "A", False),
        ("C", "D", False),
        ("C", "Paris", False),
        ("C", "B and C", False),
        ("Paris", "paris", True),
        ("Paris", r"\text{Paris}.", True),
        ("New  York", "New York", True),
        ("Paris", "Rome", False),
    ],
)
def test_letters_indices_and_texts_are_compared(reference: str, answer: str, right: bool) -> None:
    assert VERIFIER.compare(reference, answer) is right


@given(st.text() | st.text(alphabet="Answer :is\\boxed{}()*$ABCIJ.\n", max_size=400), st.sampled_from(LETTERS))
def test_no_text_is_too_strange(text: str, letter: str) -> None:
    found = VERIFIER.extract(text)
    if found is not None:
        VERIFIER.compare(letter, found)
        VERIFIER.compare(text, found)


@pytest.mark.parametrize("text", ["answer " * 60_000, "answer" + " " * 400_000, "Answer: *(" * 40_000, "(((" * 100_000])
def test_long_repetitions_are_read_once(text: str) -> None:
    """With a repetition that has no limit, such a text would take the square of its length: hours, not a moment."""
    assert VERIFIER.extract(text) is None

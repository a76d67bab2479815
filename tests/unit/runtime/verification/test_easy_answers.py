"""The pre-check may be silent, never of another opinion than math-verify."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_runtime.verification.easy import decide
from distill_runtime.verification.math_answers import MathAnswers

ANSWERS = (
    *("0", "-0", "5", "-5", "+5", "5.", "5.0", "05", "1000", "1,000", "1{,}000", "1 000", r"1\,000", "12,34"),
    *("0.5", ".5", "0.50", "50", r"50\%", "1/2", "2/4", "-1/2", r"\frac{1}{2}", r"\dfrac{1}{2}", r"-\frac{1}{2}"),
    *(r"\frac12", r"\frac{-1}{2}", "1/0", r"\frac{1}{0}", "0/5", "0.33333", "1/3", "2/6", "1:2", "1 1/2", "1/2/3"),
    *("x", "X", "A", "(A)", r"\text{A}", "x=5", "y=5", "5=x", "(1,2)", "(1, 2)", "1,2", "2,1", "[1,2)", r"\{1,2\}"),
    *(r"\$", r"\$5", "5 cm", r"5\text{ cm}", r"\text{cm}", r"90^\circ", "90", r"\pi", r"\infty", r"\text{ }", "%"),
    *(
        r"\sqrt{2}",
        r"\sqrt2",
        "9999999",
        "9999998",
        "9999999/9999998",
        "0.00001",
        "123456.12345",
        "1,000,000",
        "i",
        "e",
    ),
)


def test_it_agrees_with_math_verify_on_every_pair() -> None:
    verifier = MathAnswers()
    decided = 0
    for reference, answer in itertools.product(ANSWERS, ANSWERS):
        verdict = decide(reference, answer)
        if verdict is not None:
            decided += 1
            assert verdict == verifier.compare(reference, answer), (reference, answer)
    assert decided > 600


number = st.one_of(
    st.integers(-9_999_999, 9_999_999).map(str),
    st.integers(0, 9_999_999).map(lambda value: f"{value:,}"),
    st.tuples(st.integers(0, 9999), st.integers(0, 99999)).map(lambda parts: f"{parts[0]}.{parts[1]}"),
    st.tuples(st.integers(0, 9_999_999), st.integers(0, 99)).map(lambda parts: rf"\frac{{{parts[0]}}}{{{parts[1]}}}"),
    st.tuples(st.integers(0, 99), st.integers(0, 99)).map(lambda parts: f"-{parts[0]}/{parts[1]}"),
)


@given(number, number)
@settings(max_examples=150)
def test_it_agrees_with_math_verify_on_numbers(reference: str, answer: str) -> None:
    verdict = decide(reference, answer)
    assert verdict is None or verdict == MathAnswers().compare(reference, answer)


@pytest.mark.parametrize(
    ("reference", "answer", "verdict"),
    [
        ("42", "42", True),
        ("42", "43", False),
        ("1,000", "1000", True),
        ("0.5", "1/2", True),
        (r"\frac{2}{4}", "1/2", True),
        (r"x^2+\sqrt{3}", r"\sqrt{3}+x^2", None),
        (r"\text{east}", "east", None),
        ("(1,2]", "(1,2]", True),
        ("1 000", "1000", None),
        (r"\$", r"\$", None),
        ("99!", "99!", None),
    ],
)
def test_decide(reference: str, answer: str, verdict: bool | None) -> None:
    assert decide(reference, answer) is verdict

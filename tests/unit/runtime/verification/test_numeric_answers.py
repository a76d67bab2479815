"""The verifier numeric: what is read as a number, and how close is close enough."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_runtime.contract import FilterParameters, Tolerance
from distill_runtime.verification import Question, open_verifier, verify_all
from distill_runtime.verification.numeric_answers import NumericAnswers, last_number, number_in

EXACT = NumericAnswers(Tolerance())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        ("-42", -42),
        ("−42", -42),
        ("+3.50", Fraction(7, 2)),
        (".5", Fraction(1, 2)),
        ("1,234,567", 1234567),
        ("1{,}234", 1234),
        (r"1\,234", 1234),
        ("1\u202f234.5", Fraction(2469, 2)),
        ("3/4", Fraction(3, 4)),
        (r"-\frac{3}{4}", Fraction(-3, 4)),
        (r"\dfrac{-3}{4}", Fraction(-3, 4)),
        ("1.5e3", 1500),
        ("1E-2", Fraction(1, 100)),
        (r"1.5 \times 10^{3}", 1500),
        ("-2 x 10^-2", Fraction(-1, 50)),
        ("6×10^5", 600000),
        (r"\$1,234", 1234),
        ("$18", 18),
        (r"42 \text{ apples}", 42),
        ("x = 42", 42),
        (r"x \approx 4.2", Fraction(21, 5)),
        ("1 + 1 = 2", 2),
        (r"30^\circ", 30),
        ("5 m^2", 5),
        ("5 m/s", 5),
        ("18.", 18),
        (r"50\%", 50),
        # None of these is a number.
        ("", None),
        ("six", None),
        ("3, 4", None),
        ("3 or 4", None),
        (r"2\pi", None),
        (r"2\sqrt{3}", None),
        ("2^3", None),
        ("2!", None),
        ("2+x", None),
        ("1/0", None),
        (r"\frac{1}{0}", None),
        ("1e999", None),
        ("9" * 401, None),
        ("1,5", None),
    ],
)
def test_numbers_are_read(text: str, value: int | Fraction | None) -> None:
    number = number_in(text)
    assert (None if number is None else number.value) == value


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("She has 3 + 4 = 7 apples.", "7"),
        ("It costs $1,234.", "1,234"),
        ("so #### 18", "18"),
        ("a rise of 12.5 %", "12.5 %"),
        ("nothing", None),
    ],
)
def test_without_a_box_the_last_number_counts(text: str, found: str | None) -> None:
    assert last_number(text) == found


@pytest.mark.parametrize(
    ("reference", "answer", "right"),
    [
        ("1234", "1,234", True),
        ("0.75", r"\frac{3}{4}", True),
        ("50%", "50 %", True),
        ("50", "50%", True),
        ("0.5", "50%", True),
        ("50%", "0.5", True),
        ("50%", "5%", False),
        ("50", "5%", False),
        ("0.33", "1/3", False),
    ],
)
def test_values_are_compared(reference: str, answer: str, right: bool) -> None:
    assert EXACT.compare_quickly(reference, answer) is right


@pytest.mark.parametrize(
    ("tolerance", "answer", "right"),
    [
        ({}, "200.1", False),
        ({"relative": 0.01}, "202", True),
        ({"relative": 0.01}, "202.01", False),
        ({"absolute": 0.5}, "199.5", True),
        ({"absolute": 0.5}, "199.4", False),
        ({"absolute": 0.5, "relative": 0.01}, "198", True),
    ],
)
def test_the_larger_tolerance_counts(tolerance: dict[str, float], answer: str, right: bool) -> None:
    assert NumericAnswers(Tolerance.model_validate(tolerance)).compare_quickly("200", answer) is right


def test_what_is_no_number_is_no_wrong_one() -> None:
    verifier = open_verifier(FilterParameters(verifier="numeric"))
    pairs = [("7", r"\boxed{7}"), ("7", "8"), ("7", "seven"), ("7", r"\boxed{2\pi}"), ("seven", "7")]
    verdicts = verify_all(verifier, [Question(None, *pair) for pair in pairs], 10, workers=1)
    assert [verdict.reason for _, verdict in verdicts] == ["correct", "incorrect", "noAnswer", "noAnswer", "crashed"]


@given(st.text() | st.text(alphabet="0123456789.,-+eE/\\frac{}^x10 %$=", max_size=500))
def test_no_text_is_too_strange(text: str) -> None:
    found = EXACT.extract(text)
    if found is not None:
        EXACT.compare_quickly(found, found)
    EXACT.compare_quickly(text, "1")


@given(st.integers(-(10**30), 10**30), st.integers(0, 12))
def test_every_decimal_is_read_as_it_is_written(digits: int, decimals: int) -> None:
    value = Fraction(digits, 10**decimals)
    sign, size = "-" if digits < 0 else "", abs(digits)
    whole, part = divmod(size, 10**decimals)
    written = f"{sign}{whole:,}" + (f".{part:0{decimals}}" if decimals else "")
    number = number_in(written)
    assert number is not None
    assert number.value == value


@pytest.mark.parametrize(
    "text",
    [
        "1" * 400_000,
        "1," * 200_000,
        "1,234" * 80_000,
        "1/" * 200_000,
        "1e" * 200_000,
        "-" * 400_000,
        "1 x 10 " * 60_000,
    ],
)
def test_long_repetitions_are_read_once(text: str) -> None:
    """With a repetition that has no limit, such a text would take the square of its length: hours, not a moment."""
    found = EXACT.extract(text)
    EXACT.compare_quickly("1", found or "")

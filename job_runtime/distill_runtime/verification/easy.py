r"""The pre-check: decide at once what math-verify would decide the same way, a thousand times slower.

About half of the final answers in mathematics data are integers, plain decimals or simple fractions, or equal to
the reference letter by letter. Each rule here is as narrow as it has to be for math-verify's verdict to be certain;
`1 000` is not among the numbers because math-verify reads it as a product. The unit tests compare both over all pairs
of a table of answers, `make bench` over ten thousand.
"""

import re
from fractions import Fraction

# With more digits than this a difference could vanish in math-verify's comparison at 15 digits.
_INTEGER = r"(?:0|[1-9]\d{0,6})"
_THOUSANDS = re.compile(r"-?[1-9]\d{0,2}(?:(?:,|\{,\})\d{3}){1,2}")
_DECIMAL = re.compile(rf"-?{_INTEGER}\.\d{{1,5}}")
_WHOLE = re.compile(rf"-?{_INTEGER}")
_RATIO = re.compile(rf"(-?)(?:\\[dt]?frac\{{({_INTEGER})\}}\{{({_INTEGER})\}}|({_INTEGER})/({_INTEGER}))")
_LONGEST_EQUAL = 100
_COMMAND = re.compile(r"\\(?:[A-Za-z]+|.)")
# Growth that even an equal pair must not start: 9^{9^{9}}, 99!, 10^{1000000}.
_EXPLOSIVE = re.compile(r"!|\^|\*\*|\\binom|\\int|\\sum|\\prod|\\lim")


def decide(reference: str, answer: str) -> bool | None:
    """Compare two answers without their `\\boxed{}`; None when only math-verify can tell."""
    expected = as_number(reference)
    if expected is not None:
        given = as_number(answer)
        if given is not None:
            return expected == given
    if reference == answer and _is_plainly_something(reference):
        return True
    return None


def as_number(text: str) -> int | Fraction | None:
    """Give the value of an integer, a plain decimal or a simple fraction; None if it is none of them."""
    if _WHOLE.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return Fraction(text)
    if _THOUSANDS.fullmatch(text):
        return int(text.replace("{", "").replace("}", "").replace(",", ""))
    ratio = _RATIO.fullmatch(text)
    if ratio is None:
        return None
    sign, *parts = ratio.groups()
    numerator, denominator = (int(part) for part in parts if part is not None)
    if denominator == 0:
        return None
    value = Fraction(numerator, denominator)
    return -value if sign else value


def _is_plainly_something(text: str) -> bool:
    """Whether math-verify surely reads something from a text: a letter or digit outside of commands."""
    if len(text) > _LONGEST_EQUAL or _EXPLOSIVE.search(text):
        return False
    return any(character.isascii() and character.isalnum() for character in _COMMAND.sub("", text))

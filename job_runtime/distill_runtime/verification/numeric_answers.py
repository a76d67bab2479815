r"""The verifier `numeric`: the value of the final number, within a tolerance.

The number is the one in the last `\boxed{}`, or else the last one in the text. Read are signs, thousands separators
(`1,234`, `1{,}234`, `1\,234`), fractions (`3/4`, `\frac{3}{4}`), decimals, scientific notation (`1.5e3`,
`1.5 \times 10^{3}`), percent, and a unit or a currency around it. What has several numbers, or computes with one
(`2\pi`, `2^3`), is no number.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from distill_runtime.contract import Tolerance
from distill_runtime.foundation.reasoning import text_after_reasoning
from distill_runtime.verification.boxed import boxed_answer
from distill_runtime.verification.verifier import NoAnswer

_LONGEST: Final = 400
"""Characters of what is read as a number, and the largest exponent: so many digits are compared in no time."""

_DIGITS = r"(?:\d{1,3}(?:,\d{3})++(?!\d)|\d++)(?:\.\d++)?|\.\d++"
_EXPONENT = (
    r"(?:[eE][-+]?\d{1,4}(?![\w.])|\s{0,3}(?:\*|×|x|\\times|\\cdot)\s{0,3}10\s{0,2}\^\s{0,2}\{?\s{0,2}-?\d{1,4}\}?)"
)
_FRACTION = r"\\[dt]?frac\s{0,3}\{\s{0,3}-?\d++(?:\.\d++)?\s{0,3}\}\s{0,3}\{\s{0,3}\d++(?:\.\d++)?\s{0,3}\}"
_NUMBER = re.compile(
    rf"(?<![\w^_.])(?<![\^_]\{{)[-+−]?\s{{0,2}}(?:{_FRACTION}|(?:{_DIGITS})(?:{_EXPONENT}|\s{{0,2}}/\s{{0,2}}\d++(?:\.\d++)?)?)"
)
_PERCENT = re.compile(r"\s{0,3}\\?%")
_PARTS = re.compile(r"\d[\d,]*+(?:\.\d++)?|\.\d++")
_POWER = re.compile(r"(?:[eE]|\^\s{0,2}\{?\s{0,2})([-+]?\d{1,4})\}?\s*$")

_SEPARATORS = re.compile(r"\{,\}|(?<=\d)(?:\\[,;!: ]|[\u00a0\u2009\u202f])(?=\d{3})")
_DECORATION = re.compile(
    r"\\(?:text|textbf|mathrm|mbox|operatorname)\s*\{[^{}]*\}|\^\s*\{?\s*\\circ\s*\}?|\\[$,;!: ]|\$|~"
)
_RELATION = re.compile(r"=|≈|\\approx|\\simeq|\\sim")
_UNIT = re.compile(r"[A-Za-zµΩ°%€£¥$\s.:()/'\"*-]*(?:\^\{?-?\d\}?)?[\s.)]*")


@dataclass(frozen=True, slots=True)
class Number:
    """A number as a text has it."""

    value: Fraction
    percent: bool


def number_in(text: str) -> Number | None:
    """Read a short text that is one number, with or without a unit; None if it is none."""
    plain = _DECORATION.sub(" ", _SEPARATORS.sub(",", text[: _LONGEST + 1]))
    if len(text) > _LONGEST:
        return None
    plain = _RELATION.split(plain)[-1].strip()
    numbers = list(_NUMBER.finditer(plain))
    if len(numbers) != 1:
        return None
    (number,) = numbers
    percent = _PERCENT.match(plain, number.end())
    before, after = plain[: number.start()], plain[percent.end() if percent else number.end() :]
    if not (_UNIT.fullmatch(before) and _UNIT.fullmatch(after)) or after.lstrip().startswith(("^", "*")):
        return None
    value = _value(number.group())
    return None if value is None else Number(value, percent is not None)


def last_number(text: str) -> str | None:
    """Give the last number of a text as it is there, with its percent sign."""
    found = None
    for found in _NUMBER.finditer(text):  # noqa: B007 - the last one is what is wanted
        pass
    if found is None:
        return None
    percent = _PERCENT.match(text, found.end())
    return text[found.start() : percent.end() if percent else found.end()].strip()


@dataclass(frozen=True, slots=True)
class NumericAnswers:
    """The number must be the reference answer, or as close to it as the tolerance says.

    A percent sign on both sides counts as nothing; on one side alone it is taken for a unit, or for hundredths,
    whichever fits: `50%` is 50, where a percentage was asked for, and 0.5.
    """

    tolerance: Tolerance

    def prepare(self) -> None:
        """Nothing is needed."""

    def extract(self, text: str) -> str | None:
        """Give the content of the last box, or the last number if there is no box."""
        answer = text_after_reasoning(text)
        return boxed_answer(answer) or last_number(_SEPARATORS.sub(",", answer))

    def compare_quickly(self, reference: str, answer: str) -> bool | None:
        """Decide where both are numbers."""
        expected, given = number_in(reference), number_in(answer)
        return None if expected is None or given is None else self._agree(expected, given)

    def compare(self, reference: str, answer: str) -> bool:
        """Compare the values.

        Raises:
            ValueError: the reference answer is no number, so that the verdict says nothing of the answer.
            NoAnswer: the answer is none.
        """
        expected, given = number_in(reference), number_in(answer)
        if expected is None:
            raise ValueError(f"the reference answer {reference!r:.80} is no number")
        if given is None:
            raise NoAnswer
        return self._agree(expected, given)

    def _agree(self, expected: Number, given: Number) -> bool:
        if self._close(expected.value, given.value):
            return True
        if expected.percent == given.percent:
            return False
        return self._close(_hundredths(expected), _hundredths(given))

    def _close(self, expected: Fraction, given: Fraction) -> bool:
        allowed = max(Fraction(self.tolerance.absolute), Fraction(self.tolerance.relative) * abs(expected))
        return abs(expected - given) <= allowed


def _hundredths(number: Number) -> Fraction:
    return number.value / 100 if number.percent else number.value


def _value(text: str) -> Fraction | None:
    """Give the value of a text that `_NUMBER` matches; None if it divides by zero or is too large to be meant."""
    power = _POWER.search(text) if re.search(r"[eE]|10\s*\^", text) else None
    exponent = int(power.group(1)) if power else 0
    if abs(exponent) > _LONGEST:
        return None
    mantissa, *rest = (Fraction(part.replace(",", "")) for part in _PARTS.findall(text))
    if power is None and rest:
        if not rest[0]:
            return None
        mantissa /= rest[0]
    negative = text.count("-", 0, power.start() if power else None) + text.count("−")
    value = mantissa * Fraction(10) ** exponent
    return -value if negative % 2 else value

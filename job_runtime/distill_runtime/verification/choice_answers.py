r"""The verifier `choice`: which of the lettered choices an answer names, from A to J.

The letter is the one in the last `\boxed{}`, or else the one behind the last `Answer:`, `the answer is` or `the correct
option is`, or else the whole text. Names of more than one choice are the name of none, and a choice that is only
mentioned (`option B is wrong`) is not answered.
"""

import re
from dataclasses import dataclass
from typing import Final

from distill_runtime.contract.parameters import LETTERS
from distill_runtime.foundation.reasoning import text_after_reasoning
from distill_runtime.verification.boxed import boxed_answer

# All repetitions have a limit, so that no text takes longer than its length.
_DECORATION = r"[\s*_`\"'(\[{$]{0,8}"
_WRAPPER = r"(?:\\(?:text|textbf|textrm|mathrm|mathbf|boxed)\{[\s(]{0,3}){0,3}"
_STATED = re.compile(
    r"\b(?:[Aa]nswer|ANSWER|[Cc]orrect (?:option|choice))"
    r"(?:\s{1,3}(?:is|was)\b\s{0,3}:?|\s{0,3}[*_]{0,3}\s{0,3}[:=])"
    rf"{_DECORATION}{_WRAPPER}{_DECORATION}(?:(?:[Oo]ption|[Cc]hoice)\s{{1,3}}[(]?)?([A-J])(?![\w'’])(?P<after>.{{0,12}})"
)
_WORDS: Final = "AI"
"""Letters that are English words as well: `Answer: A gas` names no choice."""
_ENDS_A_LETTER = re.compile(r"\s*(?:$|[)\]}.,:;*_`\"'$\n\\])")
_COMMAND = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf)\s*\{([^{}]*)\}")
_LABELLED = re.compile(r"\(?([A-J])(?:\)|\.|:|\s*$)(.*)", re.DOTALL)
_LABEL = re.compile(r"(?<!\w)[A-J][).]")
_SPACES = re.compile(r"\s+")


def letter_of(text: str) -> str | None:
    """Give the letter that a text names, as do `b`, `(B)`, `B.`, `B) Paris`, `\\text{B}`; None if it names none."""
    plain = _plain(text)
    if len(plain) == 1 and plain.upper() in LETTERS:
        return plain.upper()
    named = _LABELLED.fullmatch(plain)
    return None if named is None or _LABEL.search(named.group(2)) else named.group(1)


def reference_letter(reference: str) -> str | None:
    """Give the letter that a reference answer means: one that it names, or that of an index, which counts from 0."""
    index = reference.strip()
    if len(index) == 1 and index in "0123456789":
        return LETTERS[int(index)]
    return letter_of(reference)


@dataclass(frozen=True, slots=True)
class ChoiceAnswers:
    """The letter must be the reference answer's; where that is a text, the text must be."""

    def prepare(self) -> None:
        """Nothing is needed."""

    def extract(self, text: str) -> str | None:
        """Give the letter, or the content of the last box where that is a text."""
        answer = text_after_reasoning(text)
        box = boxed_answer(answer)
        if box is not None:
            return letter_of(box) or box
        stated = None
        for match in _STATED.finditer(answer):
            letter = match.group(1)
            if letter not in _WORDS or _ENDS_A_LETTER.match(match.group("after")):
                stated = letter
        return stated or letter_of(answer)

    def compare_quickly(self, reference: str, answer: str) -> bool:
        """Compare the two, which takes no time."""
        return self.compare(reference, answer)

    def compare(self, reference: str, answer: str) -> bool:
        """Compare the letters, or the texts where the reference has none; capitals and spaces do not matter."""
        letter = reference_letter(reference)
        if letter is not None:
            return letter == letter_of(answer)
        return _plain(reference).casefold() == _plain(answer).casefold()


def _plain(text: str) -> str:
    """Take off what only looks: spaces, `$`, `\\text{}`, asterisks, a full stop at the end."""
    return _SPACES.sub(" ", _COMMAND.sub(r"\1", text)).strip(" $*_`.{}[]")

"""The verifiers `exact`, `regex`, `recorded` and `none`: answers are compared letter by letter, or not at all."""

import re
from dataclasses import dataclass

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.reasoning import text_after_reasoning
from distill_runtime.verification.boxed import boxed_answer
from distill_runtime.verification.verifier import NoAnswer


@dataclass(frozen=True, slots=True)
class ExactAnswers:
    """The last `\\boxed{}`, or all that follows the reasoning if there is none, must be the reference answer.

    Spaces and line breaks count as one space, and around the answer as nothing.
    """

    def prepare(self) -> None:
        """Nothing is needed."""

    def extract(self, text: str) -> str | None:
        """Give the content of the last box, or the whole text after the reasoning."""
        answer = text_after_reasoning(text)
        return boxed_answer(answer) or answer.strip() or None

    def compare_quickly(self, reference: str, answer: str) -> bool:
        """Compare the two, which takes no time."""
        return self.compare(reference, answer)

    def compare(self, reference: str, answer: str) -> bool:
        """Compare the two."""
        return reference.split() == answer.split()


def check_pattern(name: str, pattern: str) -> None:
    """Make sure that something is a regular expression.

    Args:
        name: of the parameter that has it.

    Raises:
        WrongInput: InvalidPattern.
    """
    try:
        re.compile(pattern)
    except re.error as error:
        raise WrongInput("InvalidPattern", f"{name} {pattern!r} is not a valid regular expression: {error}") from error


def last_match(pattern: str, text: str) -> str | None:
    """Give what the last match of a regular expression says: its first group, if it has one, or all of it.

    Returns:
        None where that group took no part in the match.

    Raises:
        NoAnswer: where there is no match.
    """
    found = None
    for found in re.finditer(pattern, text):  # noqa: B007 - the last one is what is wanted
        pass
    if found is None:
        raise NoAnswer
    return found.group(1) if found.re.groups else found.group()


@dataclass(frozen=True, slots=True)
class PatternAnswers:
    """The last match of a regular expression must be the reference answer; see `FilterParameters.answer_pattern`.

    Matching is left to a worker process: some expressions take for ever on some texts.
    """

    pattern: str

    @classmethod
    def checked(cls, pattern: str) -> "PatternAnswers":
        """Make one of a pattern.

        Raises:
            WrongInput: InvalidPattern.
        """
        check_pattern("answerPattern", pattern)
        return cls(pattern)

    def prepare(self) -> None:
        """Nothing is needed."""

    def extract(self, text: str) -> str | None:
        """Give the text after the reasoning, in which `compare` looks for the answer."""
        return text_after_reasoning(text).strip() or None

    def compare_quickly(self, reference: str, answer: str) -> None:
        """Decide nothing."""

    def compare(self, reference: str, answer: str) -> bool:
        """Find the last match and compare it."""
        value = last_match(self.pattern, answer)
        return value is not None and value.split() == reference.split()


@dataclass(frozen=True, slots=True)
class AnyAnswer:
    """Everything is right: where the reference answer cannot be compared, or somebody else has judged."""

    def prepare(self) -> None:
        """Nothing is needed."""

    def extract(self, text: str) -> str | None:
        """Give the text after the reasoning; an empty one is no answer."""
        return text_after_reasoning(text).strip() or None

    def compare_quickly(self, reference: str, answer: str) -> bool:
        """Accept."""
        return self.compare(reference, answer)

    def compare(self, reference: str, answer: str) -> bool:
        """Accept."""
        return True

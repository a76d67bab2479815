"""What a verifier is: how an answer is found in a text and compared with the reference answer."""

from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

Reason = Literal["correct", "incorrect", "noAnswer", "timeout", "crashed"]
"""Why a generation is right or not.

* correct, incorrect: the answer was compared with the reference.
* noAnswer: the text holds no answer to compare.
* timeout: the comparison took longer than it may; crashed: it raised something, took its process down or ran out of
  memory.
"""
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)


class NoAnswer(Exception):  # noqa: N818 - a verdict rather than an error
    """Raised by `compare`: there is nothing in the text to compare."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one generation."""

    reason: Reason
    answer: str | None = None
    """What was compared, as the text has it."""

    @property
    def correct(self) -> bool:
        """Whether the answer equals the reference."""
        return self.reason == "correct"


class Verifier(Protocol):
    """One way to compare. Instances are sent to worker processes, so they pickle."""

    def prepare(self) -> None:
        """Load what `compare` needs, once, in the process that those that compare are forked from.

        Raises:
            WrongInput: if it cannot be loaded.
        """

    def extract(self, text: str) -> str | None:
        """Find what is compared in a model's text, which includes the reasoning; None when there is nothing."""

    def compare_quickly(self, reference: str, answer: str) -> bool | None:
        """Decide the easy cases at once; None leaves it to `compare`, whose verdict it never changes."""

    def compare(self, reference: str, answer: str) -> bool:
        """Decide any case, or raise NoAnswer. Runs on the main thread of a process that may be killed at any moment.

        That process has no credentials in its environment (see `supervision`), and what it prints goes nowhere.
        """

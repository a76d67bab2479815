"""What the rule-based teacher answers: two-digit additions worked by rule, some spoiled on purpose.

Everything here is a pure function of the seed, the addition and the request's own seed, so that a test can compute
exactly which answers were spoiled, and how, without asking the server.
"""

import hashlib
import re
from dataclasses import dataclass, fields
from enum import StrEnum
from http import HTTPStatus
from typing import Self

DOUBT = "Wait, let me check."

_PROBLEM = re.compile(r"What is (\d\d) \+ (\d\d)\?")
_TOKEN = re.compile(r"\w+|[^\w\s]")


class Outcome(StrEnum):
    """What becomes of an answer."""

    RIGHT = "right"
    WRONG = "wrong"
    TRUNCATED = "truncated"


@dataclass(frozen=True)
class Addition:
    """Two numbers of two digits each, to be added."""

    first: int
    second: int

    @classmethod
    def find(cls, text: str) -> Self | None:
        """Give the first addition asked in a text, None if there is none."""
        match = _PROBLEM.search(text)
        return cls(int(match[1]), int(match[2])) if match else None

    @property
    def problem(self) -> str:
        """The question, as `find` understands it."""
        return f"What is {self.first} + {self.second}?"

    @property
    def answer(self) -> str:
        """The reference answer."""
        return str(self.first + self.second)


@dataclass(frozen=True)
class Faults:
    """How often something goes wrong: shares of all answers, and of all requests."""

    wrong: float = 0.0
    truncated: float = 0.0
    too_many_requests: float = 0.0
    unavailable: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            share = getattr(self, field.name)
            if not 0 <= share <= 1:
                raise ValueError(f"{field.name} is {share}; a share must be between 0 and 1")
        if self.wrong + self.truncated > 1:
            raise ValueError("wrong and truncated add up to more than 1: an answer cannot be both")
        if self.too_many_requests + self.unavailable >= 1:
            raise ValueError("too_many_requests and unavailable add up to 1 or more: no request would ever be answered")


@dataclass(frozen=True)
class Answer:
    """A chain of thought and the answer it leads to, cut off if `finish_reason` is length."""

    reasoning: str
    content: str
    finish_reason: str
    tokens: int


def choose_outcome(faults: Faults, seed: int, addition: Addition, request_seed: int) -> Outcome:
    """Decide what becomes of one answer: the same for the same four values, at any time, in any process."""
    share = _draw("outcome", seed, addition.problem, request_seed)
    if share < faults.wrong:
        return Outcome.WRONG
    if share < faults.wrong + faults.truncated:
        return Outcome.TRUNCATED
    return Outcome.RIGHT


def choose_refusal(faults: Faults, seed: int, addition: Addition, request_seed: int, attempt: int) -> HTTPStatus | None:
    """Decide whether a request is refused; `attempt` counts from 0, so that a retry is a new decision."""
    share = _draw("refusal", seed, addition.problem, request_seed, attempt)
    if share < faults.too_many_requests:
        return HTTPStatus.TOO_MANY_REQUESTS
    if share < faults.too_many_requests + faults.unavailable:
        return HTTPStatus.SERVICE_UNAVAILABLE
    return None


def work_out(addition: Addition, outcome: Outcome, max_tokens: int) -> Answer:
    """Answer one addition.

    A wrong answer gets the carry wrong, as a pupil would. A truncated one goes over it again and again, as reasoning
    models sometimes do, until it is cut off at `max_tokens`. So is any other that is longer.
    """
    ones = addition.first % 10 + addition.second % 10
    carry = ones // 10
    if outcome is Outcome.WRONG:
        carry = 1 - carry
    tens = addition.first // 10 + addition.second // 10 + carry
    reasoning = (
        f"Ones: {addition.first % 10} + {addition.second % 10} = {ones}, write {ones % 10}, carry {carry}.\n"
        f"Tens: {addition.first // 10} + {addition.second // 10} + {carry} = {tens}."
    )
    content = f"The answer is \\boxed{{{tens}{ones % 10}}}."
    if outcome is Outcome.TRUNCATED:
        again = f"\n{DOUBT}\n{reasoning}"
        reasoning += again * (max_tokens // count_tokens(again) + 1)
    tokens = count_tokens(reasoning) + count_tokens(content)
    if tokens <= max_tokens:
        return Answer(reasoning, content, "stop", tokens)
    return Answer(
        reasoning=_first_tokens(reasoning, max_tokens),
        content=_first_tokens(content, max_tokens - count_tokens(reasoning)),
        finish_reason="length",
        tokens=max_tokens,
    )


def count_tokens(text: str) -> int:
    """Count tokens as this teacher counts them: words, numbers and single punctuation marks."""
    return sum(1 for _ in _TOKEN.finditer(text))


def _first_tokens(text: str, limit: int) -> str:
    end = 0
    for number, token in enumerate(_TOKEN.finditer(text), start=1):
        if number > limit:
            break
        end = token.end()
    return text[:end]


def _draw(*values: object) -> float:
    """Give a number in [0, 1) that depends on the values and on nothing else."""
    digest = hashlib.blake2b(repr(values).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64

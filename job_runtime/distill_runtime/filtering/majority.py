"""The verifier `majority`: without reference answers, the answer that a prompt's generations give most often is right.

Two passes. The first reads all final answers and gives each prompt its own; in the second generations are compared with
it as with any reference answer, so that `0.5` agrees with `\\frac{1}{2}` whichever of them was elected. A prompt has no
answer where two are as frequent, or where none was given twice: one voice is no majority.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from distill_runtime.contract import FilterParameters
from distill_runtime.filtering.generations import Generation
from distill_runtime.filtering.reasons import rejected_unseen
from distill_runtime.foundation.reasoning import text_after_reasoning
from distill_runtime.foundation.texts import text_fingerprint
from distill_runtime.sources.problems import ANSWER_MISSING
from distill_runtime.verification.boxed import boxed_answer
from distill_runtime.verification.easy import as_number

NO_MAJORITY: Final = "noMajority"
_FEWEST: Final = 2
_SPACES = re.compile(r"\s+")


@dataclass(slots=True)
class _Votes:
    """How often an answer was given, and how it was written first."""

    answer: str
    number: int = 0


@dataclass(frozen=True)
class Majorities:
    """The elected answers, by the fingerprint of the prompt's uuid."""

    answers: Mapping[int, str]

    def judge_by(self, generation: Generation) -> Generation:
        """Give the generation with its prompt's answer for reference, whatever its row has, or rejected without one."""
        answer = self.answers.get(text_fingerprint(generation.uuid))
        unusable = None if generation.unusable == ANSWER_MISSING else generation.unusable
        return generation._replace(
            answer=answer or "", unusable=unusable, recorded=NO_MAJORITY if answer is None else None
        )


def elect(generations: Iterable[Generation], parameters: FilterParameters) -> Majorities:
    """Count what the generations answer that could be kept; those that are cut off, with `onTruncated: drop`, have no
    voice.

    Counting takes some 630 bytes of memory a prompt whose generations agree, and more for each further answer (measured
    with 200,000 prompts of two generations).
    """
    ballots: dict[int, dict[str, _Votes]] = {}
    for generation in generations:
        if rejected_unseen(generation.unusable, generation.truncated, parameters) not in (None, ANSWER_MISSING):
            continue
        answer = boxed_answer(text_after_reasoning(generation.text))
        if answer is None:
            continue
        votes = ballots.setdefault(text_fingerprint(generation.uuid), {}).setdefault(_meaning(answer), _Votes(answer))
        votes.number += 1
    elected = {prompt: _elected(list(ballot.values())) for prompt, ballot in ballots.items()}
    return Majorities({prompt: answer for prompt, answer in elected.items() if answer is not None})


def _elected(ballot: list[_Votes]) -> str | None:
    first, *others = sorted(ballot, key=lambda votes: votes.number, reverse=True)
    if first.number < _FEWEST or any(votes.number == first.number for votes in others):
        return None
    return first.answer


def _meaning(answer: str) -> str:
    """Give what equal answers have in common, where that is plain to see."""
    number = as_number(answer)
    return _SPACES.sub("", answer) if number is None else str(number)

"""Generations that the verifier does not accept and a judge is asked about: kept with all that is known of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from distill_runtime.filtering.answered import NO_VERDICT
from distill_runtime.filtering.generations import Generation, Place
from distill_runtime.filtering.outcomes import shortened
from distill_runtime.judge.questions import is_answered
from distill_runtime.storage.resumable import json_line, read_lines

UNDECIDED: Final = frozenset({"timeout", "crashed", NO_VERDICT})
"""What is said of answers that the verifier, or the row, does not judge."""
_DOUBTED: Final = frozenset({"incorrect", "noAnswer", *UNDECIDED})


@dataclass(frozen=True, slots=True)
class Doubt:
    """A generation, why it is not accepted, and what was compared."""

    generation: Generation
    reason: str
    found: str | None


def is_doubtful(generation: Generation, reason: str) -> bool:
    """Tell whether a judge is asked about a generation that was rejected for a reason.

    What was cut off, never answered, or has nothing to be compared with is no question of how answers are written.
    """
    return reason in _DOUBTED and not generation.truncated and is_answered(generation.text)


def doubtful_line(doubt: Doubt) -> bytes:
    """Write a doubt as a line."""
    known = doubt.generation._asdict()
    del known["next"]
    return json_line({"reason": doubt.reason, "found": shortened(doubt.found), "generation": known})


def read_doubts(path: Path) -> Iterator[Doubt]:
    """Read the lines again."""
    for line, _ in read_lines(path):
        row = orjson.loads(line)
        yield Doubt(Generation(**row["generation"], next=Place()), row["reason"], row["found"])

"""How a generation is written down once it is decided: as an accepted row with its key, or as a reject."""

from typing import Final, Literal

from distill_runtime.filtering.generations import Generation
from distill_runtime.filtering.selection import key_of
from distill_runtime.foundation.rows import kept_row
from distill_runtime.storage.resumable import json_line

DecidedBy = Literal["rules", "judge"]
"""Who has the last word on an answer: the verifier, or the judge after it."""

_FOUND_CHARACTERS: Final = 200
"""Of what was compared, which for some verifiers is the whole text."""


def accepted_row(generation: Generation, decided_by: DecidedBy) -> tuple[bytes, bytes]:
    """Give the row of an accepted generation, and its key."""
    uuid, number, text = generation.uuid, generation.number, generation.text
    row = kept_row(
        uuid,
        number,
        generation.prompt,
        generation.answer,
        text,
        source=generation.source,
        tokens=generation.tokens,
        teacher=generation.teacher,
        decided_by=decided_by,
    )
    return json_line(row), key_of(uuid, number, text, generation.tokens)


def rejected_row(
    generation: Generation, reason: str, found: str | None, benchmark: str | None, decided_by: DecidedBy
) -> bytes:
    """Say why a generation is rejected; what it says is in the generate stage's artifact, or in the source's row.

    Args:
        found: what was compared.
        benchmark: what its prompt is taken from, if it is.
    """
    return json_line(
        {
            "uuid": generation.uuid,
            "generation": generation.number,
            "position": generation.position,
            "reason": reason,
            "decided_by": decided_by,
            "teacher": generation.teacher,
            "tokens": generation.tokens,
            "characters": len(generation.text),
            "answer": generation.answer,
            "source": generation.source,
            "found": shortened(found),
            "failure": generation.failure,
            "benchmark": benchmark,
        }
    )


def shortened(found: str | None) -> str | None:
    """Give what is kept of what was compared."""
    return found and found[:_FOUND_CHARACTERS]

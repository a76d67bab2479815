"""What a selection knows of the filter's rows: a few numbers each, in two files.

One has what is known of each kept row, in the order of the rows. The other has every verdict on a generation of a
prompt, from which the prompt's pass rate follows: of the filter itself, or of one that has judged a probe's answers to
the same prompts. Generations on which there is none, such as those that were never answered, are left out of it.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from distill_runtime.contract import SelectParameters
from distill_runtime.filtering.keys import Keys
from distill_runtime.filtering.reasons import UNJUDGED
from distill_runtime.filtering.selection import UNSELECTED
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.rows import KEPT_NAME, REJECTS_NAME
from distill_runtime.foundation.texts import text_fingerprint
from distill_runtime.storage.resumable import GrowingFile, read_lines

CANDIDATE = np.dtype(
    [
        ("prompt", np.uint64),
        ("generation", np.int64),
        ("length", np.int64),
        ("tokens", np.int64),
        ("value", np.uint64),
        ("order", np.uint64),
    ]
)
"""What is known of a kept row: fingerprint of its prompt, index of the generation, its characters, its tokens or else
-1, fingerprint of its value in the column that is balanced, and its place in the order that the seed decides."""
VERDICT = np.dtype([("prompt", np.uint64), ("right", np.uint8)])
"""Fingerprint of a prompt, and whether one of its generations is right."""

_PACKED_CANDIDATE = struct.Struct("=QqqqQQ")
_PACKED_VERDICT = struct.Struct("=QB")
_REPORT_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the rows (`CANDIDATE`), and of all generations of their prompts (`VERDICT`)."""

    candidates: Keys
    verdicts: Keys


def read_candidates(
    filtered: Path, probe: Path | None, work: Path, parameters: SelectParameters, report: Callable[[int], None]
) -> Known:
    """Read the filter's artifact once, and write down what is known.

    Args:
        filtered: directory of the artifact.
        probe: directory of another's, whose verdicts count; None for those of the artifact itself.
        work: directory to write to; what is there of an earlier time is written over.
        report: called now and then with the number of kept rows that were read.

    Raises:
        WrongInput: BalanceColumnEmpty, if no row has a value in the column that is to be balanced.
    """
    column = parameters.balance.column if parameters.balance else None
    has_values = False
    paths = work / "candidates", work / "verdicts"
    with GrowingFile(paths[0], 0) as candidates, GrowingFile(paths[1], 0) as verdicts:
        for number, (line, _) in enumerate(read_lines(filtered / KEPT_NAME)):
            row = orjson.loads(line)
            uuid, generation, tokens = row["uuid"], row["generation"], row.get("tokens")
            value = row.get(column) if column else None
            has_values |= value is not None
            prompt = text_fingerprint(uuid)
            candidates.append(
                _PACKED_CANDIDATE.pack(
                    prompt,
                    generation,
                    len(row["messages"][-1]["content"]),
                    -1 if tokens is None else tokens,
                    text_fingerprint(orjson.dumps(value).decode()),
                    text_fingerprint(f"{parameters.seed}:{generation}:{uuid}"),
                )
            )
            if probe is None:
                verdicts.append(_PACKED_VERDICT.pack(prompt, 1))
            if number % _REPORT_ROWS == 0:
                report(number)
        for line, _ in read_lines(probe / KEPT_NAME) if probe is not None else ():
            verdicts.append(_PACKED_VERDICT.pack(text_fingerprint(orjson.loads(line)["uuid"]), 1))
        for line, _ in read_lines((probe or filtered) / REJECTS_NAME):
            reject = orjson.loads(line)
            if (reason := reject["reason"]) not in UNJUDGED:
                verdicts.append(_PACKED_VERDICT.pack(text_fingerprint(reject["uuid"]), reason in UNSELECTED))
    if column and not has_values:
        raise WrongInput(
            "BalanceColumnEmpty",
            f"select.balance counts rows by {column}, and none of the kept rows has one; "
            + (
                "name the column that holds it in the source's sourceColumn"
                if column == "source"
                else "rows that were answered already have no teacher, nor have those that an earlier version filtered"
            ),
        )
    return Known(Keys(paths[0], CANDIDATE), Keys(paths[1], VERDICT))

"""Which of a prompt's right generations are kept.

Works on a few numbers a row, a part of the prompts at a time, so that its memory does not grow with the rows.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from distill_runtime.contract.parameters import Keep
from distill_runtime.filtering.keys import Keys
from distill_runtime.foundation.texts import text_fingerprint

NOT_KEPT = "notKept"
DUPLICATE = "duplicate"
FATES = ("kept", DUPLICATE, NOT_KEPT)
"""What may become of a row: kept; it repeats another of the same prompt letter by letter; another was preferred."""
UNSELECTED = frozenset(FATES[1:])
"""Reasons of rejects that are right."""

KEY = np.dtype(
    [
        ("prompt", np.uint64),
        ("text", np.uint64),
        ("generation", np.int64),
        ("length", np.int64),
        ("tokens", np.int64),
    ]
)
"""What is known of a row: fingerprints of its prompt and of its text, the index of the generation, its characters, and
its tokens if the teacher counted them, or else -1."""

_PACKED_KEY = struct.Struct("=QQqqq")
"""A KEY as `struct` writes it, ten times faster than numpy writes one."""


def key_of(uuid: str, generation: int, text: str, tokens: int | None) -> bytes:
    """Make the KEY of a row."""
    counted = -1 if tokens is None else tokens
    return _PACKED_KEY.pack(text_fingerprint(uuid), text_fingerprint(text), generation, len(text), counted)


def select(keys: Keys, keep: Keep, most: int | None) -> NDArray[np.uint8]:
    """Tell what becomes of each row.

    Args:
        keys: one a row.
        keep: which generations of a prompt are preferred.
        most: how many of a prompt are kept; None for one, or with keep `all` for all of them.

    Returns:
        For each row its place in `FATES`.
    """
    fates = np.zeros(len(keys), np.uint8)
    for rows, part in keys.parts(keys.fitting_parts):
        by_text = np.lexsort((part["generation"], part["text"], part["prompt"]))
        repeats = np.zeros(len(part), np.bool_)
        repeats[by_text[1:]] = _equal_neighbours(part["prompt"][by_text]) & _equal_neighbours(part["text"][by_text])
        fates[rows[repeats]] = FATES.index(DUPLICATE)
        if most is not None or keep != "all":
            distinct, left = rows[~repeats], part[~repeats]
            fates[distinct[beyond_most(left, keep, most or 1)]] = FATES.index(NOT_KEPT)
    return fates


def beyond_most(part: NDArray[np.void], keep: Keep, most: int) -> NDArray[np.int64]:
    """Give the places of those rows that are not among the `most` preferred of their prompt.

    Args:
        part: all rows of some prompts, with `prompt`, `generation` and `length`.
    """
    by_preference = np.lexsort((part["generation"], _preference(part, keep), part["prompt"]))
    return beyond_first(part["prompt"], by_preference, most)


def beyond_first(values: NDArray[np.uint64], by_value: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Give the places of those that are not among the first `most` with their value.

    Args:
        by_value: all places, sorted by value, and those of one value as they are preferred.
    """
    # One is beyond the first `most` if the one `most` places before it has the same value.
    ordered = values[by_value]
    beyond: NDArray[np.int64] = by_value[most:][np.equal(ordered[most:], ordered[:-most])]
    return beyond


def _equal_neighbours(values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    return np.equal(values[1:], values[:-1])


def _preference(part: NDArray[np.void], keep: Keep) -> NDArray[np.int64]:
    """Give a number that is least for the generation to be kept; equal ones are decided by the index."""
    match keep:
        case "shortest":
            return np.asarray(part["length"])
        case "longest":
            return np.asarray(-part["length"])
        case _:
            return np.zeros(len(part), np.int64)

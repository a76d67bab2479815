"""Which of a prompt's right generations are kept.

Works on a few numbers a row, a part of the prompts at a time, so that its memory does not grow with the rows.
"""

import hashlib
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Keep = Literal["all", "first", "shortest", "longest"]

NOT_KEPT = "notKept"
DUPLICATE = "duplicate"

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

_ROWS_AT_ONCE = 1 << 17


def key_of(uuid: str, generation: int, text: str, tokens: int | None) -> bytes:
    """Make the KEY of a row."""
    counted = -1 if tokens is None else tokens
    return np.array((_fingerprint(uuid), _fingerprint(text), generation, len(text), counted), KEY).tobytes()


def select(keys: NDArray[np.void], keep: Keep, most: int | None) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which rows are not kept; all others are.

    Args:
        keys: array of KEY, one a row; may be a memory map.
        keep: which generations of a prompt are preferred.
        most: how many of a prompt are kept; None for one, or with keep `all` for all of them.

    Returns:
        Two arrays of a flag a row: it repeats another of the same prompt letter by letter; another was preferred.
    """
    duplicate = np.zeros(len(keys), np.bool_)
    not_kept = np.zeros(len(keys), np.bool_)
    for rows in _parts(keys):
        part = keys[rows]
        by_text = np.lexsort((part["generation"], part["text"], part["prompt"]))
        repeats = np.zeros(len(part), np.bool_)
        repeats[by_text[1:]] = _equal_neighbours(part["prompt"][by_text]) & _equal_neighbours(part["text"][by_text])
        duplicate[rows[repeats]] = True
        if most is not None or keep != "all":
            distinct = rows[~repeats]
            part = part[~repeats]
            by_preference = np.lexsort((part["generation"], _preference(part, keep), part["prompt"]))
            # Sorted by prompt, a row is beyond the first `most` of its prompt if the one `most` places before it is of
            # the same prompt.
            distance = most or 1
            prompts = part["prompt"][by_preference]
            not_kept[distinct[by_preference[distance:]]] = prompts[distance:] == prompts[:-distance]
    return duplicate, not_kept


def _fingerprint(text: str) -> int:
    """Shorten a text to 64 bits; two of ten million collide with a probability of 3 in a million."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _parts(keys: NDArray[np.void]) -> Iterator[NDArray[np.int64]]:
    """Give the row numbers of one part of the prompts after another; all rows of a prompt are in the same part."""
    parts = np.uint64(-(-len(keys) // _ROWS_AT_ONCE))
    for part in range(int(parts)):
        found = [
            start + np.flatnonzero(keys["prompt"][start : start + _ROWS_AT_ONCE] % parts == part)
            for start in range(0, len(keys), _ROWS_AT_ONCE)
        ]
        yield np.concatenate(found)


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

"""Which of a prompt's right generations are kept.

Works on a few numbers a row, a part of the prompts at a time, so that its memory does not grow with the rows.
"""

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Keep = Literal["all", "first", "shortest", "longest"]

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
_ROWS_AT_ONCE = 1 << 17


def key_of(uuid: str, generation: int, text: str, tokens: int | None) -> bytes:
    """Make the KEY of a row."""
    counted = -1 if tokens is None else tokens
    return _PACKED_KEY.pack(_fingerprint(uuid), _fingerprint(text), generation, len(text), counted)


class Keys:
    """The keys of many rows in a file, read a part at a time; a memory map would stay in memory as it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __len__(self) -> int:
        return self._path.stat().st_size // KEY.itemsize

    def chunks(self) -> Iterator[tuple[int, NDArray[np.void]]]:
        """Give the number of a row, and the keys from there on, until all were given."""
        for start in range(0, len(self), _ROWS_AT_ONCE):
            yield start, np.fromfile(self._path, KEY, _ROWS_AT_ONCE, offset=start * KEY.itemsize)


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
    for rows, part in _parts(keys):
        by_text = np.lexsort((part["generation"], part["text"], part["prompt"]))
        repeats = np.zeros(len(part), np.bool_)
        repeats[by_text[1:]] = _equal_neighbours(part["prompt"][by_text]) & _equal_neighbours(part["text"][by_text])
        fates[rows[repeats]] = FATES.index(DUPLICATE)
        if most is not None or keep != "all":
            distinct, left = rows[~repeats], part[~repeats]
            by_preference = np.lexsort((left["generation"], _preference(left, keep), left["prompt"]))
            # Sorted by prompt, a row is beyond the first `most` of its prompt if the one `most` places before it is of
            # the same prompt.
            distance = most or 1
            prompts = left["prompt"][by_preference]
            beyond = by_preference[distance:][prompts[distance:] == prompts[:-distance]]
            fates[distinct[beyond]] = FATES.index(NOT_KEPT)
    return fates


def _fingerprint(text: str) -> int:
    """Shorten a text to 64 bits; two of ten million collide with a probability of 3 in a million."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _parts(keys: Keys) -> Iterator[tuple[NDArray[np.int64], NDArray[np.void]]]:
    """Give row numbers and keys of one part of the prompts after another; all rows of a prompt are in the same part."""
    parts = np.uint64(-(-len(keys) // _ROWS_AT_ONCE))
    for part in range(int(parts)):
        rows, found = [], []
        for start, chunk in keys.chunks():
            chosen = np.flatnonzero(chunk["prompt"] % parts == part)
            rows.append(start + chosen)
            found.append(chunk[chosen])
        yield np.concatenate(rows), np.concatenate(found)


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

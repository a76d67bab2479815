"""What is known of many rows in a few numbers each, in a file that is read a part at a time.

So the memory of a choice among rows does not grow with their texts; a memory map would stay in memory as it is read.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_ROWS_AT_ONCE = 1 << 17


class Keys:
    """The keys of many rows.

    Args:
        path: the file.
        kind: what a key is made of; among it `prompt`, a fingerprint.
    """

    def __init__(self, path: Path, kind: np.dtype[np.void]) -> None:
        self._path = path
        self._kind = kind

    def __len__(self) -> int:
        return self._path.stat().st_size // self._kind.itemsize

    @property
    def fitting_parts(self) -> int:
        """How many parts they are to be read in; at least one."""
        return max(1, -(-len(self) // _ROWS_AT_ONCE))

    def chunks(self) -> Iterator[tuple[int, NDArray[np.void]]]:
        """Give the number of a row, and the keys from there on, until all were given."""
        for start in range(0, len(self), _ROWS_AT_ONCE):
            yield start, np.fromfile(self._path, self._kind, _ROWS_AT_ONCE, offset=start * self._kind.itemsize)

    def parts(self, number: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.void]]]:
        """Give row numbers and keys of one part of the prompts after another.

        All rows of a prompt are in the same part, whichever file of keys they are in.
        """
        for part in range(number):
            rows, found = [np.zeros(0, np.int64)], [np.zeros(0, self._kind)]
            for start, chunk in self.chunks():
                chosen = np.flatnonzero(chunk["prompt"] % np.uint64(number) == part)
                rows.append(start + chosen)
                found.append(chunk[chosen])
            yield np.concatenate(rows), np.concatenate(found)

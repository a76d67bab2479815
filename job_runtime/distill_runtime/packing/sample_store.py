"""Tokenised samples on disk, between tokenising, which is slow, and packing, which needs to know all lengths first.

Two files, both only ever appended to: `tokens` (int32), `index` (int64 pairs: prompt length, total length). A sample
counts once its index entry is there, so whatever a killed writer left behind is cut off.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from distill_runtime.packing.tokens import Sample

_TOKEN = np.dtype(np.int32)
_ENTRY = np.dtype([("prompt_length", np.int64), ("length", np.int64)])


class SampleStore:
    """The samples of one pack stage.

    Args:
        directory: where the two files are, or will be.
        samples: how many samples to keep of what is there; the rest is cut off.
    """

    def __init__(self, directory: Path, samples: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._tokens = _open(directory / "tokens")
        self._index = _open(directory / "index")
        entries = self.entries()[:samples]
        if len(entries) != samples:
            raise ValueError(f"{directory} holds {len(entries)} samples, not {samples}")
        self._index.truncate(entries.nbytes)
        self._tokens.truncate(int(entries["length"].sum()) * _TOKEN.itemsize)
        self._tokens.seek(0, os.SEEK_END)
        self._index.seek(0, os.SEEK_END)

    def __enter__(self) -> "SampleStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tokens.close()
        self._index.close()

    def append(self, samples: Sequence[Sample]) -> None:
        """Add samples at the end."""
        for sample in samples:
            self._tokens.write(sample.tokens.data)
        entries = [(sample.prompt_length, len(sample.tokens)) for sample in samples]
        self._index.write(np.array(entries, _ENTRY).tobytes())

    def sync(self) -> None:
        """Make durable what was added."""
        for file in (self._tokens, self._index):
            file.flush()
            os.fsync(file.fileno())

    def entries(self) -> NDArray[np.void]:
        """Give prompt length and length of each sample so far, whose tokens can be read from then on."""
        self._tokens.flush()
        self._index.flush()
        return np.fromfile(self._index.name, _ENTRY)

    def read_into(self, target: NDArray[np.int32], start: int) -> None:
        """Fill an array with the tokens from position `start` of all tokens on."""
        missing = target.nbytes - os.preadv(self._tokens.fileno(), [target.data], start * _TOKEN.itemsize)
        if missing:
            raise ValueError(f"{self._tokens.name} is {missing} bytes short at token {start}")


def _open(path: Path) -> BinaryIO:
    path.touch()
    return path.open("r+b")

"""Matrices with a product of two small ones added, read in pieces: their size does not matter."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill_runtime.training.rounding import widen_values
from distill_runtime.training.tensors import Chunk, Content, Tensor


@dataclass(frozen=True)
class LowRankUpdate:
    """What is added to a matrix of the shape (outputs, inputs).

    Attributes:
        up: of the shape (outputs, rank).
        down: of the shape (rank, inputs).
        scale: of their product.
    """

    up: Tensor
    down: Tensor
    scale: float


@dataclass(frozen=True)
class Updated:
    """A matrix with an update added to it, in float32.

    Attributes:
        matrix: in F32, F16 or BF16.
        update: that is added.
    """

    matrix: Content
    update: LowRankUpdate

    @property
    def dtype(self) -> str:
        """Of the sum."""
        return "F32"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of it."""
        return self.matrix.shape

    @property
    def bytes(self) -> int:
        """How many it has."""
        return 4 * math.prod(self.shape)

    def chunks(self) -> Iterator[Chunk]:
        """Read it in pieces of whole rows."""
        up, down = _read(self.update.up), _read(self.update.down)
        scale = np.float32(self.update.scale)
        first = 0
        for rows in self._rows():
            product = scale * (up[first : first + len(rows)] @ down)
            first += len(rows)
            yield np.asarray(rows + product, "<f4").tobytes()

    def _rows(self) -> Iterator[NDArray[np.float32]]:
        """Read the matrix in pieces of whole rows."""
        begun = np.empty(0, np.float32)
        for chunk in self.matrix.chunks():
            values = np.concatenate([begun, widen_values(chunk, self.matrix.dtype)])
            whole = len(values) // self.shape[1] * self.shape[1]
            yield values[:whole].reshape(-1, self.shape[1])
            begun = values[whole:]


def _read(tensor: Tensor) -> NDArray[np.float32]:
    return widen_values(b"".join(tensor.chunks()), tensor.dtype).reshape(tensor.shape)

"""Histograms of lengths, each bar twice as wide as the one before: the longest answers are a thousand times longer."""

import numpy as np
from numpy.typing import NDArray

BARS = 24
"""The last bar takes everything from 2^23 on."""


def count_by_doubling(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count how many lengths fall into each bar; bar i is for those from 2^i up to 2^(i + 1), and bar 0 also for 0."""
    exponents = np.frexp(np.maximum(lengths, 1).astype(np.float64))[1] - 1
    return np.bincount(np.minimum(exponents, BARS - 1), minlength=BARS)


def label(bar: int) -> str:
    """Name a bar by the lengths that it is for."""
    if bar == BARS - 1:
        return f"{2**bar:,} and more"
    return f"{2**bar if bar else 0:,} – {2 ** (bar + 1) - 1:,}"


def span(*counts: NDArray[np.int64]) -> range:
    """Give the bars from the first to the last that is not empty in all counts."""
    filled = np.flatnonzero(np.sum(counts, axis=0))
    return range(int(filled[0]), int(filled[-1]) + 1) if len(filled) else range(0)

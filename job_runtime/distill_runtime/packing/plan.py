"""Which samples share a sequence: best-fit decreasing bin packing (Johnson, 1973), over lengths rather than samples.

Samples of equal length are interchangeable, and so are sequences with equal room, so both are handled by the batch: a
step places as many samples of one length as fit into all sequences with the least sufficient room. A million samples
take well under a second, which the usual form with a search tree over sequences does not.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BLOCK_BITS = 10
_BLOCK = 1 << _BLOCK_BITS


@dataclass(frozen=True, slots=True)
class Plan:
    """The packed sequences, in the order in which they are written.

    Attributes:
        samples: int64 array of sample indices, those of one sequence next to each other.
        starts: int64 array, one longer than there are sequences: sequence i holds samples[starts[i]:starts[i + 1]].
    """

    samples: NDArray[np.int64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def sequence(self, index: int) -> NDArray[np.int64]:
        """Give the samples of one sequence."""
        return self.samples[self.starts[index] : self.starts[index + 1]]


def plan_sequences(
    lengths: NDArray[np.int64], sequence_length: int, samples_per_sequence: int, order: np.random.Generator
) -> Plan:
    """Pack samples into as few sequences as best-fit decreasing needs; never cut one.

    Args:
        lengths: tokens of each sample, at least 1 and at most `sequence_length`.
        sequence_length: tokens of a sequence.
        samples_per_sequence: most samples that a sequence may hold.
        order: decides the order of the sequences, and nothing else.
    """
    if len(lengths) and not (lengths.min() >= 1 and lengths.max() <= sequence_length):
        raise ValueError(f"sample lengths must lie between 1 and {sequence_length}")
    # A sample that takes at least its share of the room keeps any sequence from holding too many.
    sizes = np.maximum(lengths, -(-sequence_length // samples_per_sequence))
    by_size = np.argsort(-sizes, kind="stable")
    bins, bin_count = _best_fit_decreasing(sizes[by_size], sequence_length)

    position = np.empty(bin_count, np.int64)
    position[order.permutation(bin_count)] = np.arange(bin_count)
    sequence = position[bins]
    samples = by_size[np.argsort(sequence, kind="stable")]
    starts = np.zeros(bin_count + 1, np.int64)
    np.cumsum(np.bincount(sequence, minlength=bin_count), out=starts[1:])
    return Plan(samples, starts)


def _best_fit_decreasing(sizes: NDArray[np.int64], capacity: int) -> tuple[NDArray[np.int64], int]:
    """Give the bin of each item of `sizes`, which falls, and the number of bins."""
    distinct, counts = np.unique(-sizes, return_counts=True)
    bins: list[int] = []
    bin_count = 0
    bins_with_room: defaultdict[int, list[int]] = defaultdict(list)
    rooms = _RoomSet(capacity)
    for size, count in zip((-distinct).tolist(), counts.tolist(), strict=True):
        left = count
        while left:
            room = rooms.least(size)
            if room is None:
                # No bin has room: open new ones, as many as the rest needs.
                room = capacity
                new = -(-left // (capacity // size))
                bins_with_room[room] = list(range(bin_count, bin_count + new))
                rooms.add(room)
                bin_count += new
            left = _fill(size, left, room, bins_with_room, rooms, bins)
    return np.array(bins, np.int64), bin_count


def _fill(
    size: int, left: int, room: int, bins_with_room: dict[int, list[int]], rooms: "_RoomSet", bins: list[int]
) -> int:
    """Place up to `left` items into the bins with exactly `room`; give how many remain.

    A bin that takes an item becomes the best fit for the next one, so each is filled before the next is touched.
    """
    waiting = bins_with_room[room]
    each = room // size
    full = min(left // each, len(waiting))
    placed = full * each
    if full:
        taken = waiting[-full:]
        del waiting[-full:]
        bins.extend(taken if each == 1 else [number for number in taken for _ in range(each)])
        _give_back(taken, room - each * size, bins_with_room, rooms)
    rest = left - placed
    if rest and waiting:
        # Fewer items remain than the next bin could take.
        number = waiting.pop()
        bins.extend([number] * rest)
        _give_back([number], room - rest * size, bins_with_room, rooms)
        placed += rest
    if not waiting:
        rooms.discard(room)
    return left - placed


def _give_back(numbers: list[int], room: int, bins_with_room: dict[int, list[int]], rooms: "_RoomSet") -> None:
    if room:
        bins_with_room[room].extend(numbers)
        rooms.add(room)


class _RoomSet:
    """A set of integers up to `capacity` that finds its least member not below a bound, by two levels of bit masks."""

    def __init__(self, capacity: int) -> None:
        self._blocks = [0] * ((capacity >> _BLOCK_BITS) + 1)
        self._summary = 0

    def add(self, value: int) -> None:
        block = value >> _BLOCK_BITS
        self._blocks[block] |= 1 << (value & (_BLOCK - 1))
        self._summary |= 1 << block

    def discard(self, value: int) -> None:
        block = value >> _BLOCK_BITS
        self._blocks[block] &= ~(1 << (value & (_BLOCK - 1)))
        if not self._blocks[block]:
            self._summary &= ~(1 << block)

    def least(self, bound: int) -> int | None:
        """Give the least member that is at least `bound`."""
        block = bound >> _BLOCK_BITS
        members = self._blocks[block] >> (bound & (_BLOCK - 1))
        if members:
            return bound + _lowest_bit(members)
        later = self._summary >> (block + 1)
        if not later:
            return None
        block += 1 + _lowest_bit(later)
        return (block << _BLOCK_BITS) + _lowest_bit(self._blocks[block])


def _lowest_bit(mask: int) -> int:
    return (mask & -mask).bit_length() - 1

"""The planner gives what best-fit decreasing gives, with every sample in exactly one sequence."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_runtime.packing.plan import plan_sequences


def best_fit_decreasing(lengths: list[int], capacity: int) -> list[int]:
    """Textbook form: each item, longest first, goes where it leaves the least room. Gives the rooms left."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [index for index, room in enumerate(rooms) if room >= length]
        if fitting:
            rooms[min(fitting, key=lambda index: rooms[index])] -= length
        else:
            rooms.append(capacity - length)
    return sorted(rooms)


@given(
    st.integers(1, 2100).flatmap(
        lambda capacity: st.tuples(
            st.just(capacity), st.lists(st.integers(1, capacity), max_size=80), st.integers(0, 5)
        )
    )
)
def test_it_is_best_fit_decreasing(case: tuple[int, list[int], int]) -> None:
    capacity, lengths, seed = case
    plan = plan_sequences(np.array(lengths, np.int64), capacity, capacity, np.random.default_rng(seed))
    assert sorted(plan.samples.tolist()) == list(range(len(lengths)))
    rooms = [capacity - sum(lengths[sample] for sample in plan.sequence(index)) for index in range(len(plan))]
    assert sorted(rooms) == best_fit_decreasing(lengths, capacity)


@given(st.lists(st.integers(1, 64), min_size=1, max_size=200), st.integers(1, 64))
def test_no_sequence_holds_more_samples_than_it_may(lengths: list[int], limit: int) -> None:
    plan = plan_sequences(np.array(lengths, np.int64), 64, limit, np.random.default_rng(0))
    assert sorted(plan.samples.tolist()) == list(range(len(lengths)))
    assert max(len(plan.sequence(index)) for index in range(len(plan))) <= limit


def test_the_seed_decides_the_order_and_nothing_else() -> None:
    lengths = np.random.default_rng(1).integers(1, 100, 500)
    plans = [plan_sequences(lengths, 100, 100, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    sets = [[frozenset(plan.sequence(index).tolist()) for index in range(len(plan))] for plan in plans]
    assert sets[0] == sets[1]
    assert sets[0] != sets[2]
    assert set(sets[0]) == set(sets[2])


@pytest.mark.parametrize("lengths", [[0], [11], [3, -1]])
def test_a_length_that_cannot_be_placed_is_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="between 1 and 10"):
        plan_sequences(np.array(lengths, np.int64), 10, 10, np.random.default_rng(0))


@pytest.mark.parametrize("sequence_length", [16384, 32768])
def test_long_reasoning_fills_sequences(sequence_length: int) -> None:
    lengths = np.clip(np.random.default_rng(0).lognormal(np.log(4000), 1, 50_000), 1, 16384).astype(np.int64)
    began = time.process_time()
    plan = plan_sequences(lengths, sequence_length, 127, np.random.default_rng(0))
    assert time.process_time() - began < 5
    assert lengths.sum() / (len(plan) * sequence_length) > 0.999

"""Rows enter and leave the running batch; each is completed as if it were alone."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from distill_runtime.serving.batching import Batcher, Completion, CompletionRequest
from distill_runtime.serving.sampling import SamplingParameters

STOP = 0
GREEDY = SamplingParameters(0.0, 1.0)


class CountingDown:
    """A model after whose token n follows n - 1; the end of the counting is the stop token."""

    batch_size = 2
    max_tokens = 30

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def next_logits(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        self.may_go.wait()
        assert 0 < len(sequences) <= self.batch_size
        self.batches.append([list(sequence) for sequence in sequences])
        logits = np.zeros((len(sequences), 50), np.float32)
        for row, sequence in enumerate(sequences):
            logits[row, sequence[-1] - 1] = 1
        return logits


def request(*prompt: int, max_tokens: int = 20) -> CompletionRequest:
    return CompletionRequest(prompt, max_tokens, GREEDY, seed=1)


@pytest.fixture
def model() -> CountingDown:
    return CountingDown()


@pytest.fixture
def batcher(model: CountingDown) -> Batcher:
    batcher = Batcher(model, frozenset({STOP}))
    batcher.start()
    return batcher


def test_a_completion_ends_before_the_stop_token_which_is_counted(batcher: Batcher) -> None:
    assert batcher.submit(request(9, 3)).result(5) == Completion((2, 1), "stop", 3)


def test_it_is_cut_off_at_its_limit(batcher: Batcher) -> None:
    assert batcher.submit(request(9, max_tokens=3)).result(5) == Completion((8, 7, 6), "length", 3)


def test_it_is_cut_off_where_the_models_positions_end(batcher: Batcher) -> None:
    completion = batcher.submit(request(*[40] * 28)).result(5)
    assert completion == Completion((39, 38), "length", 2)


def test_a_request_takes_the_row_that_another_left(batcher: Batcher, model: CountingDown) -> None:
    model.may_go.clear()
    futures = [batcher.submit(request(number)) for number in (2, 12, 3)]
    model.may_go.set()
    assert [future.result(5).generated for future in futures] == [2, 12, 3]
    lengths = [len(batch) for batch in model.batches]
    assert sum(lengths) == 2 + 12 + 3
    assert len(lengths) < 2 + 12 + 3  # they did share steps
    # The third entered while the second was on its way. How far that had come depends on how many had been submitted
    # when the first step began.
    assert any([3] in batch and any(row[0] == 12 and len(row) > 1 for row in batch) for batch in model.batches)


def test_a_cancelled_request_gives_its_row_away(batcher: Batcher, model: CountingDown) -> None:
    model.may_go.clear()
    first, second = batcher.submit(request(20)), batcher.submit(request(21))
    waiting = batcher.submit(request(2))
    assert first.cancel()
    assert second.cancel()
    model.may_go.set()
    assert waiting.result(5) == Completion((1,), "stop", 2)


def test_what_the_model_raises_is_passed_on() -> None:
    class Broken(CountingDown):
        def next_logits(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
            raise MemoryError("too large")

    batcher = Batcher(Broken(), frozenset({STOP}))
    batcher.start()
    batcher.submit(request(5))
    with pytest.raises(MemoryError, match="too large"):
        batcher.failed.result(5)

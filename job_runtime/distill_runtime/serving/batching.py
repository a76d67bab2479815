"""Continuous batching: a request joins the running batch as soon as a row is free and leaves when it is done.

The network keeps no state between steps (MindSpore's paged attention has no CPU kernel), so a row is nothing but its
tokens so far, and rows may come and go between any two steps.
"""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from distill_runtime.serving.sampling import SamplingParameters, next_token


class NextTokenModel(Protocol):
    """The model behind the batcher.

    Attributes:
        batch_size: rows that one step computes, whether used or not.
        max_tokens: longest sequence, prompt and completion together.
    """

    batch_size: int
    max_tokens: int

    def next_logits(self, sequences: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Give float32 (sequences, vocabulary): what follows each sequence."""


@dataclass(frozen=True)
class CompletionRequest:
    """What to complete, and how far.

    Attributes:
        prompt: token ids, at least one and fewer than the model's `max_tokens`.
        max_tokens: longest completion.
        seed: of sampling; None for another one each time.
    """

    prompt: Sequence[int]
    max_tokens: int
    sampling: SamplingParameters
    seed: int | None


@dataclass(frozen=True)
class Completion:
    """What was generated.

    Attributes:
        tokens: without the token that ended it.
        generated: tokens generated, that one included.
    """

    tokens: tuple[int, ...]
    finish_reason: Literal["stop", "length"]
    generated: int


@dataclass
class _Row:
    """A request on its way."""

    request: CompletionRequest
    future: "Future[Completion]"
    tokens: list[int]
    random: np.random.Generator
    prompt_length: int = field(init=False)

    def __post_init__(self) -> None:
        self.prompt_length = len(self.tokens)

    @property
    def generated(self) -> int:
        return len(self.tokens) - self.prompt_length

    def complete(self, completion: Completion) -> None:
        """Hand over what was generated, unless nobody waits for it any more: it may be cancelled at any moment."""
        if self.future.done() or not self.future.set_running_or_notify_cancel():
            return
        self.future.set_result(completion)


class Batcher:
    """Runs the model in a thread of its own.

    Args:
        stop_tokens: ids that end a completion.

    Attributes:
        failed: raises what the model raised, if it ever does; then nothing is worked on any more.
    """

    def __init__(self, model: NextTokenModel, stop_tokens: frozenset[int]) -> None:
        self._model = model
        self._stop_tokens = stop_tokens
        self._waiting: queue.SimpleQueue[_Row] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self.failed: Future[None] = Future()

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, request: CompletionRequest) -> "Future[Completion]":
        """Queue a request; cancelling the future gives its row to another."""
        row = _Row(request, Future(), list(request.prompt), np.random.default_rng(request.seed))
        self._waiting.put(row)
        return row.future

    def _run(self) -> None:
        rows: list[_Row] = []
        try:
            while True:
                self._admit(rows)
                self._step(rows)
                rows = [row for row in rows if not row.future.done()]
        except Exception as error:  # noqa: BLE001 - whatever the model raises ends the process, by `failed`
            self.failed.set_exception(error)

    def _admit(self, rows: list[_Row]) -> None:
        """Fill free rows; waits if there is nothing to do at all."""
        while len(rows) < self._model.batch_size and not (rows and self._waiting.empty()):
            rows.append(self._waiting.get())

    def _step(self, rows: list[_Row]) -> None:
        """Add a token to each row and finish those that are done."""
        logits = self._model.next_logits([row.tokens for row in rows])
        for row, row_logits in zip(rows, logits, strict=True):
            token = next_token(row_logits, row.request.sampling, row.random)
            row.tokens.append(token)
            if token in self._stop_tokens:
                row.complete(Completion(tuple(row.tokens[row.prompt_length : -1]), "stop", row.generated))
            elif row.generated >= row.request.max_tokens or len(row.tokens) >= self._model.max_tokens:
                row.complete(Completion(tuple(row.tokens[row.prompt_length :]), "length", row.generated))

"""How far training is, by the log that its workers write: for the reporter, and for the watch that sees it hang."""

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from distill_runtime.process.progress import Reporter
from distill_runtime.training.saving import SavedCheckpoints
from distill_runtime.training.stall import StallWatch
from distill_runtime.training.throughput import StepWork
from distill_runtime.training.training_log import StepRecord, TrainingLogFollower

_SPEED_STEPS: Final = 20


class View(Protocol):
    """What else shows the steps."""

    def add(self, record: StepRecord) -> None:
        """Take a step; those that were done before this attempt come first."""

    def refresh(self) -> None:
        """Show what was taken, if it is time; called a few times a second."""

    def close(self) -> None:
        """Show all of it: no more steps come."""


@dataclass
class StepProgress:
    """Passes the training log on to the reporter, the watch and the views.

    Attributes:
        resumed: steps that were done when the attempt began.
        remark: what is said of that as long as the attempt goes on; empty if there is nothing.
    """

    reporter: Reporter
    follower: TrainingLogFollower
    work: StepWork
    total_steps: int
    resumed: int
    remark: str
    watch: StallWatch
    saved: SavedCheckpoints
    views: Sequence[View]
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_SPEED_STEPS))
    overflow_steps: int = 0
    latest: int = 0

    @property
    def new_step(self) -> bool:
        """Whether this attempt has done a step."""
        return self.latest > self.resumed

    def begin(self) -> None:
        """Report that no step is done yet."""
        self.reporter.update(done=self.resumed, total=self.total_steps, message=self._message("loading and compiling"))

    def update(self) -> str | None:
        """Report the steps that were done since the last call; says if there was none for too long."""
        now = time.monotonic()
        record: StepRecord | None = None
        for record in self.follower.read_new():
            self.overflow_steps += record.overflow
            self.latest = record.step
            if record.step > self.resumed:
                self.watch.step(record.step, record.seconds, now)
            if record.step > self.resumed + 1:  # the first step of an attempt compiles
                self.seconds.append(record.seconds)
            for view in self.views:
                view.add(record)
        if record is not None and record.step > self.resumed:
            self._report(record)
        for view in self.views:
            view.refresh()
        return self.watch.overdue(now)

    def _report(self, record: StepRecord) -> None:
        metrics = {"loss": record.loss, "learningRate": record.learning_rate}
        if record.gradient_norm is not None and math.isfinite(record.gradient_norm):
            metrics["gradientNorm"] = record.gradient_norm
        if self.seconds:
            metrics |= self.work.speed(sum(self.seconds) / len(self.seconds))
        saved = self.saved.look(record.step)
        self.reporter.update(
            done=record.step,
            message=self._message(f"epoch {record.epoch}"),
            counts={
                "epoch": record.epoch,
                "overflowSteps": self.overflow_steps,
                **({} if saved is None else {"lastCheckpointStep": saved.step}),
            },
            metrics=metrics | ({} if saved is None else {"lastCheckpointTime": saved.time}),
        )

    def _message(self, what: str) -> str:
        return f"{what}; {self.remark}" if self.remark else what

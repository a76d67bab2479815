"""How far training is, by the log that its workers write: for the reporter, and for the watch that sees it hang."""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from distill_runtime.process.progress import Reporter
from distill_runtime.training.stall import StallWatch
from distill_runtime.training.training_log import StepRecord, TrainingLogFollower

_SPEED_STEPS: Final = 20


@dataclass
class StepProgress:
    """Passes the training log on to the reporter and the watch.

    Attributes:
        resumed: steps that were done when the attempt began.
        remark: what is said of that as long as the attempt goes on; empty if there is nothing.
    """

    reporter: Reporter
    follower: TrainingLogFollower
    tokens_per_step: int
    total_steps: int
    resumed: int
    remark: str
    watch: StallWatch
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
        if record is not None and record.step > self.resumed:
            self._report(record)
        return self.watch.overdue(now)

    def _report(self, record: StepRecord) -> None:
        metrics = {"loss": record.loss, "learningRate": record.learning_rate}
        if self.seconds:
            metrics["tokensPerSecond"] = self.tokens_per_step * len(self.seconds) / sum(self.seconds)
        self.reporter.update(
            done=record.step,
            message=self._message(f"epoch {record.epoch}"),
            counts={"overflowSteps": self.overflow_steps},
            metrics=metrics,
        )

    def _message(self, what: str) -> str:
        return f"{what}; {self.remark}" if self.remark else what

"""How far a stage is: one object that the stage updates and everything else reads."""

import threading
import time
from collections import deque
from collections.abc import Mapping

from distill_runtime.contract import Progress

_RATE_WINDOW_SECONDS = 60.0
_RATE_SAMPLE_SECONDS = 0.5


class RecentRate:
    """Units a second over the last minute, from samples of a counter.

    Times are seconds of any steady clock. The first sample is the baseline: what an earlier Pod did is not speed.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, done: int) -> None:
        """Take a sample; those closer together than half a second replace each other."""
        samples = self._samples
        if len(samples) > 1 and now - samples[-2][0] < _RATE_SAMPLE_SECONDS:
            samples.pop()
        samples.append((now, done))
        while len(samples) > 2 and samples[1][0] < now - _RATE_WINDOW_SECONDS:  # noqa: PLR2004 - both ends of a span
            samples.popleft()

    def at(self, now: float) -> float | None:
        """Give the rate up to `now`, in which silence counts as slowness; None before anything was done."""
        if not self._samples:
            return None
        since, done_then = self._samples[0]
        done = self._samples[-1][1] - done_then
        if done <= 0 or now <= since:
            return None
        return done / (now - since)


class Reporter:
    """What a stage says of its progress. Thread-safe, and cheap enough to call for every unit.

    Args:
        stage: name of the stage.
        unit: what is counted, in the plural: generations, rows, samples, steps, problems.
    """

    def __init__(self, stage: str, unit: str) -> None:
        self._lock = threading.Lock()
        self._rate = RecentRate()
        self._progress = Progress(stage=stage, done=0, unit=unit)

    def update(
        self,
        *,
        done: int | None = None,
        total: int | None = None,
        unit: str | None = None,
        message: str | None = None,
        counts: Mapping[str, int] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Say what has changed; what is left out stays. `counts` and `metrics` add to the names already there.

        A stage that resumes calls it first with what is done already, so that this is not taken for speed.
        """
        now = time.monotonic()
        with self._lock:
            progress = self._progress
            if done is not None:
                self._rate.add(now, done)
            # model_copy does not validate: this runs once a unit, and the types are checked statically.
            self._progress = progress.model_copy(
                update={
                    "done": progress.done if done is None else done,
                    "total": progress.total if total is None else total,
                    "unit": progress.unit if unit is None else unit,
                    "message": progress.message if message is None else message,
                    "counts": {**progress.counts, **(counts or {})},
                    "metrics": {**progress.metrics, **(metrics or {})},
                }
            )

    def snapshot(self) -> Progress:
        """Give the progress now, with rate and ETA."""
        with self._lock:
            progress, rate = self._progress, self._rate.at(time.monotonic())
        eta = None
        if rate and progress.total is not None:
            eta = max(0, progress.total - progress.done) / rate
        return progress.model_copy(update={"rate": rate, "eta_seconds": eta})


def describe(progress: Progress) -> str:
    """Put progress into one line for a log or a terminal."""
    total = "" if progress.total is None else f"/{progress.total}"
    parts = [f"{progress.stage}: {progress.done}{total} {progress.unit}"]
    if progress.rate is not None:
        parts.append(f"{progress.rate:.3g}/s")
    if progress.eta_seconds is not None:
        parts.append(f"{_duration(progress.eta_seconds)} left")
    parts += [f"{name}={value}" for name, value in progress.counts.items()]
    parts += [f"{name}={value:.4g}" for name, value in progress.metrics.items()]
    if progress.message:
        parts.append(progress.message)
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"

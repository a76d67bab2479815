"""Whether training hangs: no step for longer than steps take.

A collective operation that waits for a rank which hangs gives up after HCCL_EXEC_TIMEOUT, half an hour; a read from
storage, or a process that is stopped, never does. All the while the devices are held.
"""

import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from distill_runtime.contract.stages import DeviceTarget

_REMEMBERED_STEPS: Final = 20
_DOUBT_FACTOR: Final = 2
_DOUBT_SECONDS: Final = 10


@dataclass(frozen=True)
class Allowances:
    """How many seconds may pass without a step.

    Attributes:
        first: before the first step: starting, loading the weights, compiling, and on devices as well waiting for all
            ranks, for which HCCL_CONNECT_TIMEOUT alone is 20 minutes in the shipped profiles.
        checkpoint: after a step at which a checkpoint is saved, while none has been seen to be.
        least: always. A claim may be away for a moment.
        factor: of the median of the latest steps; after a checkpoint, of what the slowest one before took.
    """

    first: float
    checkpoint: float = 1800
    least: float = 30
    factor: float = 5


ALLOWANCES: Final[dict[DeviceTarget, Allowances]] = {"Ascend": Allowances(first=3600), "CPU": Allowances(first=900)}


@dataclass
class StallWatch:
    """Follows the steps of an attempt. Times are in seconds, of one clock.

    Attributes:
        began: when the workers were started.
        saved_every: steps from one checkpoint to the next.
        last_step: at which one is saved too, and after which the workers end.
    """

    began: float
    saved_every: int
    last_step: int
    allowances: Allowances
    _seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_STEPS))
    _slowest_save: float | None = None
    _latest: tuple[int, float] | None = None

    def step(self, number: int, seconds: float, now: float) -> None:
        """Take notice of a step, with the time since the one before: what a checkpoint takes is in that of the next."""
        if self._latest is not None:
            if self._saves(self._latest[0]):
                self._slowest_save = max(self._slowest_save or 0, seconds)
            else:
                self._seconds.append(seconds)
        self._latest = number, now

    def steps_on(self, since: float, now: float) -> bool:
        """Tell whether the next step may still come, of workers that are to do one or two more: sooner doubted than a
        hang, since those of an attempt of which another Pod has failed wait in vain."""
        latest = since if self._latest is None else max(since, self._latest[1])
        usual = statistics.median(self._seconds) if self._seconds else self.allowances.least
        return now - latest <= max(_DOUBT_FACTOR * usual, _DOUBT_SECONDS)

    def overdue(self, now: float) -> str | None:
        """Say for how long there was no step, if that is too long."""
        since = self.began if self._latest is None else self._latest[1]
        if now - since <= self._allowed():
            return None
        silent = f"no step for {now - since:.0f} s"
        if self._latest is None:
            return f"{silent} since the workers started"
        number, _ = self._latest
        what = f"after step {number}"
        if self._saves(number):
            what += ", at which a checkpoint is saved"
        usual = f"; steps take {statistics.median(self._seconds):.1f} s" if self._seconds else ""
        return f"{silent} {what}{usual}"

    def _allowed(self) -> float:
        allowances = self.allowances
        if self._latest is None:
            return allowances.first
        usual = allowances.factor * statistics.median(self._seconds) if self._seconds else 0.0
        if not self._seconds and self._slowest_save is None:
            usual = allowances.checkpoint  # the first step's time is the compiler's
        saving = 0.0
        if self._saves(self._latest[0]):
            slowest = self._slowest_save
            saving = allowances.checkpoint if slowest is None else allowances.factor * slowest
        return max(usual, saving, allowances.least)

    def _saves(self, step: int) -> bool:
        return step % self.saved_every == 0 or step >= self.last_step

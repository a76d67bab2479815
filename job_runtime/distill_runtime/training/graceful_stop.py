"""What a stage that is told to end does in its grace period: its workers save, and it waits while that is of use."""

import logging
import time
from dataclasses import dataclass
from typing import Final

from distill_runtime.training.step_progress import StepProgress
from distill_runtime.training.stopping import Stopping

logger = logging.getLogger(__name__)

_LAST_SECONDS: Final = 5
"""Of the grace period, what ending the workers and saying so may take."""


@dataclass
class GracefulStop:
    """Has the workers save what they have done when the stage is told to end, as long as that is of use."""

    progress: StepProgress
    stopping: Stopping
    grace_seconds: int
    asked: float | None = None

    def waits(self) -> bool:
        """Ask, the first time, and tell whether to wait for the workers."""
        now = time.monotonic()
        hang = self.progress.update()
        if not self.progress.new_step:
            return False  # there is nothing new to save
        if hang is not None or self.stopping.given_up():
            return False  # the step under way does not end
        if self.asked is None:
            logger.info("told to end: the workers save the step under way")
            try:
                self.stopping.request()
            except FileNotFoundError:
                logger.warning("another attempt has begun: there is nothing to save for it")
                return False
            self.asked = now
        if now > self.asked + self.grace_seconds - _LAST_SECONDS:
            return False
        after = self.stopping.after()
        saving = after is not None and self.progress.latest >= after
        return saving or self.progress.watch.steps_on(self.asked, now)

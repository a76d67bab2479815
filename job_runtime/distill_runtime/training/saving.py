"""When the last checkpoint was saved, for whoever asks what a failure would cost now."""

from dataclasses import dataclass
from pathlib import Path

from distill_runtime.training.checkpoints import saved_at


@dataclass(frozen=True)
class Saved:
    """A checkpoint of which every worker's file is there.

    Attributes:
        step: steps done when it was saved.
        time: when the last worker had written its file, in whole seconds since 1970.
    """

    step: int
    time: int


class SavedCheckpoints:
    """Looks for the checkpoint that should be there by a step.

    It costs a look at one directory a step, and only until the checkpoint is found. It is looked for from the step
    after on: the log has a step before its checkpoint is written.

    Args:
        checkpoints: the directory of checkpoints.
        workers: whose files make one complete.
        every_steps: steps between two.
        resumed: step of the checkpoint that this attempt goes on from; 0 for none.
    """

    def __init__(self, checkpoints: Path, workers: int, every_steps: int, resumed: int) -> None:
        self._checkpoints = checkpoints
        self._workers = workers
        self._every = every_steps
        self._last = self._find(resumed)

    def look(self, step: int) -> Saved | None:
        """Give the latest checkpoint, when the log has come to `step`; None while there is none."""
        due = (step - 1) // self._every * self._every
        if due > (0 if self._last is None else self._last.step):
            self._last = self._find(due) or self._last
        return self._last

    def _find(self, step: int) -> Saved | None:
        time = saved_at(self._checkpoints, step, self._workers)
        return None if time is None else Saved(step, int(time))

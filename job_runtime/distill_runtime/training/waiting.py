"""What the nodes of an attempt wait for: the first to begin, and all to have saved the last step."""

import time
from typing import Final

from distill_runtime.foundation.errors import Retryable
from distill_runtime.training.attempt import RunPaths
from distill_runtime.training.checkpoints import Checkpoint, complete_checkpoints
from distill_runtime.training.inputs import TrainingInputs

_OTHER_NODES_SECONDS: Final = 600
"""How long the first node waits for the others to save the last step, and they for it to begin."""
_BEGUN_POLL_SECONDS: Final = 0.2


def await_first_node(paths: RunPaths) -> None:
    """Wait until the first node has begun: of a run that starts over, it removes the work of the one before.

    Raises:
        Retryable: RendezvousFailed.
    """
    deadline = time.monotonic() + _OTHER_NODES_SECONDS
    while not paths.partial.exists():
        if time.monotonic() > deadline:
            raise Retryable(
                "RendezvousFailed",
                f"the first Pod of this attempt has not begun after {_OTHER_NODES_SECONDS} s; see whether it runs",
            )
        time.sleep(_BEGUN_POLL_SECONDS)


def latest_checkpoint(paths: RunPaths, inputs: TrainingInputs) -> Checkpoint | None:
    """Give the latest complete checkpoint, if there is one."""
    return next(complete_checkpoints(paths.checkpoints, inputs.schedule.devices), None)


def is_trained(checkpoint: Checkpoint | None, inputs: TrainingInputs) -> bool:
    """Tell whether a checkpoint is that of the last step."""
    return checkpoint is not None and checkpoint.step >= inputs.schedule.total_steps


def await_last_checkpoint(paths: RunPaths, inputs: TrainingInputs) -> Checkpoint:
    """Give the last step's checkpoint, to which every node contributes.

    Raises:
        Retryable: TrainingIncomplete.
    """
    deadline = time.monotonic() + _OTHER_NODES_SECONDS
    while True:
        checkpoint = latest_checkpoint(paths, inputs)
        if checkpoint is not None and is_trained(checkpoint, inputs):
            return checkpoint
        if inputs.schedule.devices == 1 or time.monotonic() > deadline:
            step = 0 if checkpoint is None else checkpoint.step
            raise Retryable(
                "TrainingIncomplete",
                f"the workers ended well, but the last complete checkpoint is of step {step}, not "
                f"{inputs.schedule.total_steps}; see the logs in {paths.logs}",
            )
        time.sleep(1)

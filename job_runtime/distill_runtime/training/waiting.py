"""What the nodes of an attempt wait for: the first to begin, and all to have saved the last step."""

import time
from typing import Final

from distill_runtime.foundation.errors import Retryable
from distill_runtime.training.attempt import RunPaths
from distill_runtime.training.checkpoints import Checkpoint, find_resumption
from distill_runtime.training.inputs import TrainingInputs

_OTHER_NODES_SECONDS: Final = 600
"""How long the first node waits for the others to save the last step, and they for it to begin."""
_BEGUN_POLL_SECONDS: Final = 0.2


def await_first_node(paths: RunPaths) -> None:
    """Wait until the first node has begun this attempt: it takes away what those before it could still write by.

    Raises:
        Retryable: RendezvousFailed; Superseded.
    """
    deadline = time.monotonic() + _OTHER_NODES_SECONDS
    while not paths.ground.is_open:
        paths.ground.check_not_superseded()
        if time.monotonic() > deadline:
            raise Retryable(
                "RendezvousFailed",
                f"the first Pod of this attempt has not begun after {_OTHER_NODES_SECONDS} s; see whether it runs",
            )
        time.sleep(_BEGUN_POLL_SECONDS)


def await_last_checkpoint(paths: RunPaths, inputs: TrainingInputs) -> Checkpoint:
    """Give the last step's checkpoint, to which every node contributes.

    Raises:
        Retryable: TrainingIncomplete.
    """
    deadline = time.monotonic() + _OTHER_NODES_SECONDS
    while True:
        found = find_resumption(paths.checkpoints, inputs.schedule.devices)
        if found.checkpoint is not None and found.step >= inputs.schedule.total_steps:
            return found.checkpoint
        if inputs.schedule.devices == 1 or time.monotonic() > deadline:
            remark = f"; {found.remark}" if found.remark else ""
            raise Retryable(
                "TrainingIncomplete",
                f"the workers ended well, but the last complete checkpoint is of step {found.step}, not "
                f"{inputs.schedule.total_steps}{remark}; see the logs in {paths.logs}",
            )
        time.sleep(1)

"""Which checkpoint has the lowest loss.

There is no validation set: it is the training loss. One batch says little, so it is the mean over the steps up to the
checkpoint, as many for each as lie between two. The log has them: it is durable before a checkpoint is.
"""

import statistics
from collections.abc import Iterable, Sequence

from distill_runtime.training.training_log import StepRecord


def smoothed_losses(steps: Iterable[int], records: Sequence[StepRecord], window: int) -> dict[int, float]:
    """Give the mean loss of the `window` steps up to each of `steps`, of those that the log has at all.

    Args:
        steps: at which a checkpoint was saved.
        records: the training log.
        window: steps from one checkpoint to the next.
    """
    losses = {record.step: record.loss for record in records}
    means = {}
    for step in steps:
        before = [losses[one] for one in range(step - window + 1, step + 1) if one in losses]
        if before:
            means[step] = statistics.fmean(before)
    return means


def best_step(losses: dict[int, float]) -> int | None:
    """Give the step with the lowest loss, of equals the latest; None if no loss is known."""
    return min(losses, key=lambda step: (losses[step], -step), default=None)


def find_best(steps: Iterable[int], records: Sequence[StepRecord], window: int) -> int | None:
    """Give the best of `steps` by the training log."""
    return best_step(smoothed_losses(steps, records, window))

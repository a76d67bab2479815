"""Steps of a training without the training: what a worker's monitor is told after each.

`python -m support.steps WORK GROUND` does steps for ever in an attempt, as a worker whose node does not answer goes on;
it ends as a worker does when the attempt is superseded, with the reason on standard output.
"""

import itertools
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from support.assignments import assignment

from distill_runtime.foundation.errors import StageError


def do_step(monitor: Any, step: int, loss: float = 0.5) -> bool:
    """Tell the monitor that a step is done; gives whether it has training stop."""
    import mindspore  # noqa: PLC0415

    scalar = mindspore.Tensor(loss)
    optimizer = SimpleNamespace(global_step=mindspore.Parameter(mindspore.Tensor([2], mindspore.int32)))
    parameters = SimpleNamespace(
        cur_step_num=step,
        cur_epoch_num=1,
        net_outputs=(scalar, mindspore.Tensor(False), scalar, scalar, None),
        train_network=mindspore.nn.Dense(2, 2),
        network=SimpleNamespace(optimizer=optimizer),
    )
    stopped: list[bool] = []
    run = SimpleNamespace(original_args=lambda: parameters, request_stop=lambda: stopped.append(True))
    monitor.on_train_step_end(run)
    return bool(stopped)


def main(work: Path, ground: Path) -> int:
    """Do steps until that is refused."""
    from distill_runtime.training.monitor import TrainingMonitor  # noqa: PLC0415

    orders = assignment(
        work,
        ground=ground,
        training_log=ground / "training-log.jsonl",
        checkpoint_every_steps=1,
        checkpoints_kept=2,
        total_steps=10**7,
        steps_per_epoch=10**7,
    )
    try:
        monitor = TrainingMonitor(orders)
        for step in itertools.count(1):
            do_step(monitor, step)
    except StageError as error:
        print(error.reason)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))

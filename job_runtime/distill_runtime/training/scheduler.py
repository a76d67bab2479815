"""The scheduler of a run with several workers: `python -m distill_runtime.training.scheduler`.

It only introduces the workers to each other, and needs neither MindFormers nor a device: MindSpore runs the scheduler
on the CPU backend whatever the workers run on.
"""

import sys

from distill_runtime.contract import EXIT_DONE
from distill_runtime.process.child_process import end_with_parent


def main() -> int:
    """Serve until all workers have left."""
    end_with_parent()
    import mindspore  # noqa: PLC0415
    from mindspore.communication import init  # noqa: PLC0415

    mindspore.set_device("CPU")
    init()
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())

"""A training worker, one process a device: `python -m distill_runtime.training.worker ASSIGNMENT`."""

import faulthandler
import os
import sys
from pathlib import Path

from distill_runtime.contract import EXIT_DONE
from distill_runtime.foundation.errors import StageError, WrongInput
from distill_runtime.process.child_process import end_with_parent
from distill_runtime.training import cpu_patches, patching
from distill_runtime.training.assignment import STACKS_SIGNAL, Assignment, Failure, failure_file
from distill_runtime.training.versions import check_versions
from distill_runtime.training.worker_environment import set_up_environment


def main(path: Path) -> int:
    """Train as ordered and return the exit code."""
    end_with_parent()
    faulthandler.register(STACKS_SIGNAL)
    assignment = Assignment.model_validate_json(path.read_bytes())
    rank = int(os.environ.get("RANK_ID", "0"))
    try:
        check_versions()
        set_up_environment(assignment, rank, os.environ)
        train(assignment)
    except StageError as error:
        failure = Failure(reason=error.reason, message=error.message, final=isinstance(error, WrongInput))
        failure_file(assignment.failures, rank).write_text(failure.model_dump_json(by_alias=True), encoding="utf-8")
        return error.exit_code
    return EXIT_DONE


def train(assignment: Assignment) -> None:
    """Hand the YAML to MindFormers' trainer.

    Raises:
        WrongInput: as TrainingMonitor.
        Retryable: likewise.
    """
    if assignment.device_target == "CPU":
        patching.install(cpu_patches.PATCHES)
    # Imported only now: the patches must be in place, and by then the stage's death is provided for.
    from mindformers.core.context import build_context  # noqa: PLC0415
    from mindformers.tools.register import MindFormerConfig  # noqa: PLC0415
    from mindformers.trainer import Trainer  # noqa: PLC0415
    from mindformers.utils import set_output_path  # noqa: PLC0415

    from distill_runtime.training.monitor import TrainingMonitor  # noqa: PLC0415

    configuration = MindFormerConfig(str(assignment.configuration), run_mode="finetune")
    set_output_path(configuration.output_dir)
    build_context(configuration)
    Trainer(configuration, callbacks=[TrainingMonitor(assignment)]).train()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

"""What happens after every step in a worker: report, check, save. The only module that depends on MindSpore's loop."""

import math
import os
import time
from pathlib import Path
from typing import Any

import mindspore
from mindspore.communication import get_rank
from mindspore.train import Callback

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.assignment import Assignment
from distill_runtime.training.best import find_best
from distill_runtime.training.checkpoints import checkpoint_file, delete_old, saved_steps
from distill_runtime.training.fence import check_held, superseded
from distill_runtime.training.stopping import Stopping
from distill_runtime.training.training_log import StepRecord, TrainingLogWriter, read_log

_NOT_SAVED = ("accu_grads", "fi_parameter", "_cache", "_device_local_norm", "_device_local_loss")
"""Parts of parameters' names: buffers of a step, which MindFormers leaves out of its own checkpoints too."""


class TrainingMonitor(Callback):  # type: ignore[misc] # MindSpore has no types
    """Writes the training log and the checkpoints, and ends training: after the last step, or when it has failed.

    It takes the place of MindFormers' MFLossMonitor and CheckpointMonitor, whose checkpoints are written in place (a
    kill leaves a torn file under its final name), are named after the step in the epoch that the process, not the
    run, has reached, and are deleted before the next one is whole.
    """

    def __init__(self, assignment: Assignment) -> None:
        super().__init__()
        self._assignment = assignment
        self._rank = get_rank() if assignment.workers > 1 else 0
        check_held(assignment.ground)
        # What is renamed from it by this descriptor cannot be renamed any more once it is taken away.
        self._ground = os.open(assignment.ground, os.O_RDONLY | os.O_DIRECTORY)
        self._log = TrainingLogWriter(assignment.training_log) if self._rank == assignment.reporting_rank else None
        self._stopping = Stopping(assignment.stopping)
        self._last_end = time.monotonic()

    def on_train_begin(self, run_context: Any) -> None:
        """Check that the data makes the steps that were planned.

        Raises:
            WrongInput: ScheduleMismatch.
        """
        batches = run_context.original_args().train_dataset.get_dataset_size()
        planned = self._assignment.steps_per_epoch
        if batches != planned:
            raise WrongInput(
                "ScheduleMismatch",
                f"an epoch has {batches} steps where {planned} were planned; a key in mindformers changes the batch "
                "size or the data: use training and parallelism instead",
            )
        self._last_end = time.monotonic()

    def on_train_step_end(self, run_context: Any) -> None:
        """Report the step, save a checkpoint if it is time, stop after the last, or when told to.

        Raises:
            WrongInput: LossNotFinite.
            Retryable: Superseded, if another attempt has begun.
        """
        check_held(self._assignment.ground)
        parameters = run_context.original_args()
        assignment = self._assignment
        step = assignment.resume_step + parameters.cur_step_num
        record = self._record(step, parameters.net_outputs)
        if self._log is not None:
            # First: JSON has no word for it. The same steps would end the same way, so this is for a person to mend.
            if not math.isfinite(record.loss):
                raise WrongInput(
                    "LossNotFinite",
                    f"the loss is {record.loss} at step {step} of {assignment.total_steps}; lower "
                    "training.learningRate or training.maxGradNorm, or lengthen the warm-up",
                )
            self._log.write(record)
        last = step >= assignment.total_steps or self._told_to_stop(step)
        if last or step % assignment.checkpoint_every_steps == 0:
            self._save(step, parameters)
        if last:
            run_context.request_stop()

    def _told_to_stop(self, step: int) -> bool:
        """Tell whether this is the step that all save and stop after, since a Pod is told to end."""
        if self._log is not None:
            self._stopping.answer(step if self._assignment.workers == 1 else step + 1)
        after = self._stopping.after()
        return after is not None and step >= after

    def _record(self, step: int, outputs: Any) -> StepRecord:
        """Read a step's outputs: loss, overflow, loss scale, learning rate, gradient norm (MFTrainOneStepCell)."""
        loss, overflow, _scale, learning_rate, norm = outputs
        now = time.monotonic()
        seconds, self._last_end = now - self._last_end, now
        return StepRecord(
            step=step,
            epoch=(step - 1) // self._assignment.steps_per_epoch + 1,
            loss=float(loss.asnumpy().mean()) / self._assignment.summed_losses,
            learning_rate=float(learning_rate.asnumpy()),
            gradient_norm=None if norm is None else float(norm.asnumpy()),
            overflow=bool(overflow.asnumpy().any()),
            seconds=round(seconds, 4),
        )

    def _save(self, step: int, parameters: Any) -> None:
        """Save weights, optimizer and position under a temporary name, make them durable, rename.

        The log goes first: a step that can be resumed from must be in it with all those before, even if the node dies.
        """
        if self._log is not None:
            self._log.sync()
        assignment = self._assignment
        epoch = (step - 1) // assignment.steps_per_epoch + 1
        path = checkpoint_file(assignment.checkpoints, step, epoch, self._rank, assignment.workers)
        writing = assignment.ground / f"rank_{self._rank}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._write(writing, step, parameters)
            os.replace(writing.name, path, src_dir_fd=self._ground)
        except Exception as error:
            # MindSpore and safetensors have exceptions of their own for a directory that is gone.
            if isinstance(error, FileNotFoundError) or not assignment.ground.is_dir():
                said = f"the checkpoint of step {step} is not saved, since another attempt has begun"
                raise superseded(said) from error
            raise
        _make_durable(path.parent)
        if self._rank == 0:
            saved = saved_steps(assignment.checkpoints, assignment.workers)
            delete_old(assignment.checkpoints, saved, assignment.checkpoints_kept, self._best(saved))

    @staticmethod
    def _write(path: Path, step: int, parameters: Any) -> None:
        """Write a whole checkpoint, durably."""
        mindspore.save_checkpoint(
            parameters.train_network,
            str(path),
            integrated_save=False,
            append_dict={
                "epoch_num": parameters.cur_epoch_num,
                "step_num": step,
                "global_step": parameters.network.optimizer.global_step,
                "loss_scale": 1.0,
            },
            format="safetensors",
            choice_func=lambda name: not any(part in name for part in _NOT_SAVED),
        )
        _make_durable(path)

    def _best(self, saved: list[int]) -> int | None:
        """Give the step that is kept for its loss. It is in the log: whose file is there has synced that before."""
        assignment = self._assignment
        if assignment.checkpoint_exported == "last":
            return None
        return find_best(saved, read_log(assignment.training_log), assignment.checkpoint_every_steps)


def _make_durable(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

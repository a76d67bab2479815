"""One node's part in an attempt: its workers, from their orders to what their end means."""

import logging
import shutil
import time

from distill_runtime.foundation.errors import Terminated
from distill_runtime.process.stage import StageContext
from distill_runtime.training.attempt import (
    CONFIGURATION_NAME,
    RunPaths,
    choose_start,
    link_base_weights,
    place_initial_weights,
    write_orders,
)
from distill_runtime.training.attempt_log import NoteWriter, read_attempts
from distill_runtime.training.causes import judge
from distill_runtime.training.checkpoints import Resumption
from distill_runtime.training.graceful_stop import GracefulStop
from distill_runtime.training.launcher import Node, run_workers
from distill_runtime.training.live_report import LiveReport, Run
from distill_runtime.training.saving import SavedCheckpoints
from distill_runtime.training.stall import ALLOWANCES, StallWatch
from distill_runtime.training.step_progress import StepProgress, View
from distill_runtime.training.stopping import Stopping
from distill_runtime.training.tensorboard import EventFile
from distill_runtime.training.training_log import TrainingLogFollower

logger = logging.getLogger(__name__)


def train_on_node(run: Run, context: StageContext, resumption: Resumption, note: NoteWriter) -> None:
    """Run this node's workers to their end.

    Raises:
        StageError: if they failed, as `judge` says.
        Terminated: if they were told to stop, here or by another Pod.
    """
    contract, inputs, paths = run.contract, run.inputs, run.paths
    assignment = write_orders(contract, inputs, paths, resumption.checkpoint)
    stopping = Stopping(paths.stopping)
    if context.index == 0:
        shutil.copyfile(paths.logs / CONFIGURATION_NAME, paths.partial / CONFIGURATION_NAME)
        start = choose_start(contract, inputs, paths, resumption.checkpoint).path
        stopping.reset()
        if start == paths.initial:
            place_initial_weights(contract, inputs, paths)
        elif start == paths.base:
            link_base_weights(inputs, paths)
    views = open_views(run, resumption.step) if context.index == 0 else ()
    progress = StepProgress(
        context.reporter,
        TrainingLogFollower(paths.training_log),
        work=run.work,
        total_steps=inputs.schedule.total_steps,
        resumed=resumption.step,
        remark=resumption.remark,
        watch=StallWatch(
            began=time.monotonic(),
            saved_every=contract.checkpoint.every_steps,
            last_step=inputs.schedule.total_steps,
            allowances=ALLOWANCES[contract.device_target],
        ),
        saved=SavedCheckpoints(
            paths.checkpoints, inputs.schedule.devices, contract.checkpoint.every_steps, resumption.step
        ),
        views=views,
    )
    progress.begin()
    node = Node(context.index, contract.nodes, contract.devices_per_node, contract.rendezvous)
    stop = GracefulStop(progress, stopping, contract.grace_seconds)
    try:
        cause = run_workers(node, assignment, paths.logs, progress.update, stop.waits)
        progress.update()  # what the workers did last
    finally:
        for view in views:
            view.close()
    if cause is not None:
        _let_others_end(stopping)
        note.failed(cause)
        raise judge(cause, progress.new_step, _failed_before(paths, contract.attempt))
    after = stopping.after()
    if after is not None and after < inputs.schedule.total_steps:
        raise Terminated  # another Pod of this attempt was told to stop


def open_views(run: Run, resumed: int) -> tuple[View, ...]:
    """Open what shows the steps to people, on the node that writes the run's files."""
    if not run.contract.training.tensorboard:
        return (LiveReport(run),)
    return LiveReport(run), EventFile(run.paths.tensorboard, run.work, resumed)


def _let_others_end(stopping: Stopping) -> None:
    """Spare the other nodes the wait for a step. If they cannot be told, they find out by themselves."""
    try:
        stopping.give_up()
    except OSError as error:
        logger.warning("cannot tell the other nodes that this one has failed: %s", error)


def _failed_before(paths: RunPaths, attempt: int) -> str | None:
    """Give the essence of the failure of the attempt before, if that came to no step."""
    before = [record for record in read_attempts(paths.attempts) if record.attempt < attempt]
    return before[-1].essence if before and before[-1].stepless else None

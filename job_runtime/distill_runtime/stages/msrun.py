"""The msrun stage: fine-tune on packed data, from wherever an earlier Pod got to, and export the model."""

import logging
import os
import shutil
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from distill_runtime.contract import InputFingerprint, Result, TrainContract
from distill_runtime.foundation.errors import Retryable, Terminated
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext
from distill_runtime.storage.artifact import ArtifactWriter
from distill_runtime.storage.fingerprints import fingerprint_artifact
from distill_runtime.storage.inputs import refuse_changes
from distill_runtime.storage.volume import Volume
from distill_runtime.training.attempt import (
    CONFIGURATION_NAME,
    RunPaths,
    attempts_metrics,
    choose_start,
    link_base_weights,
    make_paths,
    place_initial_weights,
    training_metrics,
    write_orders,
)
from distill_runtime.training.attempt_log import (
    AttemptRecord,
    NoteWriter,
    begin_attempt,
    end_run,
    nodes_of,
    noted,
    read_attempts,
)
from distill_runtime.training.causes import judge
from distill_runtime.training.checkpoints import Checkpoint, complete_checkpoints
from distill_runtime.training.claim import check_shared, check_space
from distill_runtime.training.configuration import build_configuration
from distill_runtime.training.devices import check_devices
from distill_runtime.training.export import export_model, unify_checkpoint
from distill_runtime.training.findings import find, refuse
from distill_runtime.training.inputs import TrainingInputs, fingerprint_model, open_inputs
from distill_runtime.training.launcher import Node, run_workers
from distill_runtime.training.memory.check import check_memory
from distill_runtime.training.stall import ALLOWANCES, StallWatch
from distill_runtime.training.stopping import Stopping
from distill_runtime.training.training_log import StepRecord, TrainingLogFollower, cut_log

logger = logging.getLogger(__name__)

_OTHER_NODES_SECONDS: Final = 600
"""How long the first node waits for the others to save the last step, and they for it to begin."""
_LAST_SECONDS: Final = 5
"""Of the grace period, what ending the workers and saying so may take."""
_BEGUN_POLL_SECONDS: Final = 0.2
_SPEED_STEPS: Final = 20
_NOWHERE: Final = Path("/nowhere")
"""Where a configuration that is only looked at would write."""
_PACKAGES: Final = ("mindspore", "mindformers")


def fingerprints(contract: TrainContract, context: StageContext) -> tuple[InputFingerprint, ...]:
    """Tell what the packed data is, and the base model.

    Raises:
        WrongInput: as `fingerprint_model`.
    """
    return fingerprint_artifact("dataset", contract.dataset), fingerprint_model(contract.model.uri, context.volume)


def check(contract: TrainContract, context: StageContext) -> None:
    """Check the inputs as `run` does, down to the last key of the YAML, and say how large a step is and how many.

    Raises:
        WrongInput: with what is wrong, where, and what to do.
    """
    check_shared(contract, context.volume)
    inputs = open_inputs(contract, context.volume)
    _look_ahead(contract, inputs, context)
    refuse_changes(context.volume, contract, fingerprints(contract, context))
    context.reporter.update(counts=_plan_counts(inputs) | {"totalSteps": inputs.schedule.total_steps})


def _look_ahead(contract: TrainContract, inputs: TrainingInputs, context: StageContext) -> None:
    """Check all that can be known before a device is touched, and say what memory a device will need.

    Raises:
        WrongInput: as `first_configuration`, `_have_mindformers_look` and `check_memory`.
    """
    _have_mindformers_look(contract, first_configuration(contract, inputs, context.volume))
    estimate = check_memory(contract, inputs)
    if estimate is not None:
        known = {} if contract.device_memory is None else {"deviceMemory": float(contract.device_memory)}
        context.reporter.update(metrics={"memoryPerDevice": float(estimate.total), **known})


def first_configuration(contract: TrainContract, inputs: TrainingInputs, volume: Volume) -> dict[str, Any]:
    """Give the YAML of a first attempt, once the claim has room for what it leads to.

    Raises:
        WrongInput: as `build_configuration` and `check_space`.
    """
    paths = RunPaths(partial=_NOWHERE, work=_NOWHERE, logs=_NOWHERE)
    start = choose_start(contract, inputs, paths, None)
    configuration = build_configuration(
        contract, inputs.architecture, inputs.schedule, inputs.data, start, paths.mindformers, cpus=1
    )
    check_space(contract, inputs, configuration, volume)
    return configuration


def _have_mindformers_look(contract: TrainContract, configuration: dict[str, Any]) -> None:
    """Have MindFormers read the YAML before it is handed to it.

    Raises:
        WrongInput: as `refuse`.
    """
    (findings,) = find([configuration])
    refuse(findings, contract.mindformers)


def _plan_counts(inputs: TrainingInputs) -> dict[str, int]:
    return {"globalBatchSize": inputs.schedule.global_batch_size}


def run(contract: TrainContract, context: StageContext) -> Result:
    """Train what is left to train and export the model.

    Every node runs its own workers; the first one also prepares and finishes.

    Raises:
        WrongInput: as `check`; DeviceNotReady.
    """
    if contract.device_target == "Ascend":
        check_devices(contract.devices_per_node, context.volume.resolve(contract.output), os.environ)
    inputs = open_inputs(contract, context.volume)
    refuse_changes(context.volume, contract, context.fingerprints)
    context.reporter.update(counts=_plan_counts(inputs))
    if context.index == 0:
        return _run_first_node(contract, context, inputs)
    paths = make_paths(contract, context.volume)
    with noted(paths.logs) as note:
        _await_first_node(paths)
        checkpoint = _latest(paths, inputs)
        if not _is_trained(checkpoint, inputs):
            _train(contract, context, inputs, paths, checkpoint, note)
    return Result(
        outcome="Succeeded",
        reason="WorkersDone",
        message="this node's workers are done; the first node exports the model",
    )


def _run_first_node(contract: TrainContract, context: StageContext, inputs: TrainingInputs) -> Result:
    paths = make_paths(contract, context.volume)
    if contract.device_target == "CPU" and not paths.partial.exists():
        # Where there are devices a preflight has looked. Once a run has begun, its configuration was taken.
        _look_ahead(contract, inputs, context)
    writer = ArtifactWriter(context.volume, contract, context.fingerprints)
    with noted(paths.logs) as note:
        checkpoint = _latest(paths, inputs)
        attempts = _begin_attempt(contract, inputs, paths, checkpoint)
        context.reporter.update(metrics=attempts_metrics(attempts, inputs.schedule.devices))
        if not _is_trained(checkpoint, inputs):
            _train(contract, context, inputs, paths, checkpoint, note)
        last = _await_last_checkpoint(paths, inputs)
        context.reporter.update(message="exporting the model")
        weights = _whole_weights(contract, paths, last)
        export_model(weights, inputs.model, inputs.architecture, inputs.end_token, writer.directory)
        return _finish(contract, inputs, paths, attempts[-1], writer)


def _await_first_node(paths: RunPaths) -> None:
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


def _begin_attempt(
    contract: TrainContract, inputs: TrainingInputs, paths: RunPaths, checkpoint: Checkpoint | None
) -> list[AttemptRecord]:
    """Cut the log back to the checkpoint and note the attempt; gives all attempts."""
    resumed = 0 if checkpoint is None else checkpoint.step
    kept, lost = cut_log(paths.training_log, resumed)
    if resumed:
        logger.info("resuming from step %s of %s; %s steps are lost", resumed, inputs.schedule.total_steps, len(lost))
    return begin_attempt(paths.attempts, paths.all_logs, contract.attempt, resumed, kept, lost)


def _finish(
    contract: TrainContract,
    inputs: TrainingInputs,
    paths: RunPaths,
    attempt: AttemptRecord,
    writer: ArtifactWriter,
) -> Result:
    """Make the artifact of the exported model complete, and sum the run up.

    The last checkpoint says how many steps were done. The log should have them all; what a volume lost of it, for all
    that it was synced, is counted.
    """
    steps = inputs.schedule.total_steps
    records = list(TrainingLogFollower(paths.training_log).read_new())
    unlogged = steps - len(records)
    attempt = attempt.model_copy(update={"nodes": nodes_of(paths.all_logs, contract.attempt)})
    attempts = end_run(paths.attempts, attempt, records)
    metrics = training_metrics(records, attempts, inputs)
    counts = {
        "steps": steps,
        "sequences": inputs.sequences,
        **_plan_counts(inputs),
        "overflowSteps": sum(record.overflow for record in records),
        **({"unloggedSteps": unlogged} if unlogged else {}),
    }
    artifact = writer.finish(counts, metrics, inputs=[contract.dataset], packages=_PACKAGES)
    loss = f"loss {metrics['loss']:.4g}" if records else "loss unknown"
    gap = f" (the training log lacks {unlogged} of them)" if unlogged else ""
    return Result(
        outcome="Succeeded",
        reason="Trained",
        message=f"trained {steps} steps{gap}, {loss}; the model is in {artifact.uri}",
        artifact=artifact,
        counts=counts,
        metrics=metrics,
    )


def _train(
    contract: TrainContract,
    context: StageContext,
    inputs: TrainingInputs,
    paths: RunPaths,
    checkpoint: Checkpoint | None,
    note: NoteWriter,
) -> None:
    """Run this node's workers to their end.

    Raises:
        StageError: if they failed, as `judge` says.
        Terminated: if they were told to stop, here or by another Pod.
    """
    assignment = write_orders(contract, inputs, paths, checkpoint)
    stopping = Stopping(paths.stopping)
    if context.index == 0:
        shutil.copyfile(paths.logs / CONFIGURATION_NAME, paths.partial / CONFIGURATION_NAME)
        start = choose_start(contract, inputs, paths, checkpoint).path
        stopping.reset()
        if start == paths.initial:
            place_initial_weights(inputs, paths)
        elif start == paths.base:
            link_base_weights(inputs, paths)
    resumed = 0 if checkpoint is None else checkpoint.step
    context.reporter.update(done=resumed, total=inputs.schedule.total_steps, message="loading and compiling")
    progress = _StepProgress(
        context.reporter,
        TrainingLogFollower(paths.training_log),
        tokens_per_step=inputs.schedule.global_batch_size * inputs.data.sequence_length,
        resumed=resumed,
        watch=StallWatch(
            began=time.monotonic(),
            saved_every=contract.checkpoint.every_steps,
            last_step=inputs.schedule.total_steps,
            allowances=ALLOWANCES[contract.device_target],
        ),
    )
    node = Node(context.index, contract.nodes, contract.devices_per_node, contract.rendezvous)
    stop = _Stop(progress, stopping, contract.grace_seconds)
    cause = run_workers(node, assignment, paths.logs, progress.update, stop.waits)
    if cause is not None:
        note.failed(cause)
        progress.update()  # what the workers did last
        raise judge(cause, progress.new_step, _failed_before(paths, contract.attempt))
    after = stopping.after()
    if after is not None and after < inputs.schedule.total_steps:
        raise Terminated  # another Pod of this attempt was told to stop


def _failed_before(paths: RunPaths, attempt: int) -> str | None:
    """Give the essence of the failure of the attempt before, if that came to no step."""
    before = [record for record in read_attempts(paths.attempts) if record.attempt < attempt]
    return before[-1].essence if before and before[-1].stepless else None


def _latest(paths: RunPaths, inputs: TrainingInputs) -> Checkpoint | None:
    return next(complete_checkpoints(paths.checkpoints, inputs.schedule.devices), None)


def _is_trained(checkpoint: Checkpoint | None, inputs: TrainingInputs) -> bool:
    return checkpoint is not None and checkpoint.step >= inputs.schedule.total_steps


def _await_last_checkpoint(paths: RunPaths, inputs: TrainingInputs) -> Checkpoint:
    """Give the last step's checkpoint, to which every node contributes.

    Raises:
        Retryable: TrainingIncomplete.
    """
    deadline = time.monotonic() + _OTHER_NODES_SECONDS
    while True:
        checkpoint = _latest(paths, inputs)
        if checkpoint is not None and _is_trained(checkpoint, inputs):
            return checkpoint
        if inputs.schedule.devices == 1 or time.monotonic() > deadline:
            step = 0 if checkpoint is None else checkpoint.step
            raise Retryable(
                "TrainingIncomplete",
                f"the workers ended well, but the last complete checkpoint is of step {step}, not "
                f"{inputs.schedule.total_steps}; see the logs in {paths.logs}",
            )
        time.sleep(1)


def _whole_weights(contract: TrainContract, paths: RunPaths, checkpoint: Checkpoint) -> list[Path]:
    """Give files that together hold the whole weights: with data parallelism on CPU, every worker's does."""
    if contract.device_target == "CPU" or len(checkpoint.files) == 1:
        return [checkpoint.files[0]]
    return unify_checkpoint(checkpoint.directory, paths.strategies, paths.unified, paths.logs)


@dataclass
class _StepProgress:
    """Passes the training log on to the reporter and the watch."""

    reporter: Reporter
    follower: TrainingLogFollower
    tokens_per_step: int
    resumed: int
    watch: StallWatch
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_SPEED_STEPS))
    overflow_steps: int = 0
    latest: int = 0

    @property
    def new_step(self) -> bool:
        """Whether this attempt has done a step."""
        return self.latest > self.resumed

    def update(self) -> str | None:
        """Report the steps that were done since the last call; says if there was none for too long."""
        now = time.monotonic()
        record: StepRecord | None = None
        for record in self.follower.read_new():
            self.overflow_steps += record.overflow
            self.latest = record.step
            if record.step > self.resumed:
                self.watch.step(record.step, record.seconds, now)
            if record.step > self.resumed + 1:  # the first step of an attempt compiles
                self.seconds.append(record.seconds)
        if record is not None and record.step > self.resumed:
            self._report(record)
        return self.watch.overdue(now)

    def _report(self, record: StepRecord) -> None:
        metrics = {"loss": record.loss, "learningRate": record.learning_rate}
        if self.seconds:
            metrics["tokensPerSecond"] = self.tokens_per_step * len(self.seconds) / sum(self.seconds)
        self.reporter.update(
            done=record.step,
            message=f"epoch {record.epoch}",
            counts={"overflowSteps": self.overflow_steps},
            metrics=metrics,
        )


@dataclass
class _Stop:
    """Has the workers save what they have done when the stage is told to end, as long as that is of use."""

    progress: _StepProgress
    stopping: Stopping
    grace_seconds: int
    asked: float | None = None

    def waits(self) -> bool:
        """Ask, the first time, and tell whether to wait for the workers."""
        now = time.monotonic()
        self.progress.update()
        if not self.progress.new_step:
            return False  # there is nothing new to save
        if self.asked is None:
            logger.info("told to end: the workers save the step under way")
            self.stopping.request()
            self.asked = now
        if now > self.asked + self.grace_seconds - _LAST_SECONDS:
            return False
        after = self.stopping.after()
        saving = after is not None and self.progress.latest >= after
        return saving or self.progress.watch.steps_on(self.asked, now)

"""The msrun stage: fine-tune on packed data, from wherever an earlier Pod got to.

It exports the model too, unless the contract leaves that to the stage `export`: what holds devices is not to hold them
for that.
"""

import logging
import os

from distill_runtime.contract import InputFingerprint, Result, TrainContract
from distill_runtime.process.stage import StageContext
from distill_runtime.storage.artifact import ArtifactWriter
from distill_runtime.storage.inputs import refuse_changes
from distill_runtime.training.attempt import RunPaths, attempts_metrics, make_paths
from distill_runtime.training.attempt_log import AttemptRecord, begin_attempt, noted
from distill_runtime.training.checkpoints import Resumption, find_resumption
from distill_runtime.training.claim import check_shared
from distill_runtime.training.completion import complete_artifact, end_attempt, sum_up
from distill_runtime.training.devices import check_devices
from distill_runtime.training.inputs import TrainingInputs, fingerprint_inputs, open_inputs
from distill_runtime.training.live_report import Run
from distill_runtime.training.looking_ahead import look_ahead
from distill_runtime.training.node_training import train_on_node
from distill_runtime.training.throughput import plan_work
from distill_runtime.training.training_log import cut_log, read_log
from distill_runtime.training.waiting import await_first_node, await_last_checkpoint

logger = logging.getLogger(__name__)


def fingerprints(contract: TrainContract, context: StageContext) -> tuple[InputFingerprint, ...]:
    """Tell what the packed data is, and the base model.

    Raises:
        WrongInput: as `fingerprint_inputs`.
    """
    return fingerprint_inputs(contract, context.volume)


def check(contract: TrainContract, context: StageContext) -> None:
    """Check the inputs as `run` does, down to the last key of the YAML, and say how large a step is and how many.

    Raises:
        WrongInput: with what is wrong, where, and what to do.
    """
    check_shared(contract, context.volume)
    inputs = open_inputs(contract, context.volume)
    refuse_changes(context.volume, contract, fingerprints(contract, context))
    look_ahead(contract, inputs, context.volume, context.reporter)
    context.reporter.update(counts=inputs.schedule.counts | {"totalSteps": inputs.schedule.total_steps})


def run(contract: TrainContract, context: StageContext) -> Result:
    """Train what is left to train, and export the model if that is asked of this stage.

    Every node runs its own workers; the first one also prepares and finishes.

    Raises:
        WrongInput: as `check`; DeviceNotReady.
        Retryable: Superseded, if a later attempt has begun.
    """
    if contract.device_target == "Ascend":
        check_devices(contract.devices_per_node, context.volume.resolve(contract.output), os.environ)
    inputs = open_inputs(contract, context.volume)
    refuse_changes(context.volume, contract, context.fingerprints)
    context.reporter.update(counts=inputs.schedule.counts)
    if context.index == 0:
        return _run_first_node(contract, context, inputs)
    paths = make_paths(contract, context.volume)
    with noted(paths.logs) as note:
        await_first_node(paths)
        resumption = find_resumption(paths.checkpoints, inputs.schedule.devices)
        if resumption.step < inputs.schedule.total_steps:
            train_on_node(Run(contract, inputs, plan_work(contract, inputs), paths), context, resumption, note)
    return Result(
        outcome="Succeeded",
        reason="WorkersDone",
        message="this node's workers are done; the first node has the last word",
    )


def _run_first_node(contract: TrainContract, context: StageContext, inputs: TrainingInputs) -> Result:
    paths = make_paths(contract, context.volume)
    if contract.device_target == "CPU" and not paths.partial.exists():
        # Where there are devices a preflight has looked. Once a run has begun, its configuration was taken.
        look_ahead(contract, inputs, context.volume, context.reporter)
    writer = ArtifactWriter(context.volume, contract, context.fingerprints)
    with noted(paths.logs) as note:
        paths.ground.take()
        resumption = find_resumption(paths.checkpoints, inputs.schedule.devices)
        attempts = _begin_attempt(contract, inputs, paths, resumption)
        costs = attempts_metrics(attempts, inputs.schedule.devices)
        context.reporter.update(
            done=resumption.step,
            total=inputs.schedule.total_steps,
            metrics={"resumedFromStep": float(resumption.step), **costs},
        )
        run = Run(contract, inputs, plan_work(contract, inputs), paths)
        if resumption.step < inputs.schedule.total_steps:
            train_on_node(run, context, resumption, note)
        last = await_last_checkpoint(paths, inputs)
        paths.ground.check_held()
        records = read_log(paths.training_log)
        end_attempt(contract, paths, attempts[-1], records)
        if contract.export_by == "export":
            return sum_up(run, records).result(f"its checkpoint of step {last.step} is to be exported")
        return complete_artifact(run, last, records, writer, context.reporter)


def _begin_attempt(
    contract: TrainContract, inputs: TrainingInputs, paths: RunPaths, resumption: Resumption
) -> list[AttemptRecord]:
    """Cut the log back to the checkpoint, note the attempt and let the other nodes begin; gives all attempts."""
    resumed, remark = resumption.step, resumption.remark
    paths.ground.check_held()
    kept, lost = cut_log(paths.training_log, resumed)
    if resumed:
        logger.info("resuming from step %s of %s; %s steps are lost", resumed, inputs.schedule.total_steps, len(lost))
    if remark:
        logger.warning("%s", remark)
    begun = AttemptRecord(attempt=contract.attempt, resumed_from_step=resumed, passed_over=remark or None)
    attempts = begin_attempt(paths.attempts, paths.all_logs, begun, kept, lost)
    paths.ground.open_to_all(paths.training_log)
    return attempts

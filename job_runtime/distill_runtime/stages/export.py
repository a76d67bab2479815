"""The export stage: the model of a run that has been trained, made of its last checkpoint without any device.

It goes on where `msrun` has ended, by the same contract, in the same directory, and completes the artifact. Whoever is
killed in it begins it again; the checkpoint stays until the artifact is complete.
"""

from distill_runtime.contract import InputFingerprint, Result, TrainContract
from distill_runtime.foundation.errors import Retryable
from distill_runtime.process.stage import StageContext
from distill_runtime.storage.artifact import ArtifactWriter
from distill_runtime.storage.inputs import refuse_changes
from distill_runtime.training.attempt import RunPaths, make_paths
from distill_runtime.training.checkpoints import Checkpoint, find_resumption
from distill_runtime.training.completion import complete_artifact
from distill_runtime.training.export_progress import expected_bytes, growth_reported
from distill_runtime.training.inputs import TrainingInputs, fingerprint_inputs, open_inputs
from distill_runtime.training.live_report import Run
from distill_runtime.training.throughput import plan_work
from distill_runtime.training.training_log import read_log


def fingerprints(contract: TrainContract, context: StageContext) -> tuple[InputFingerprint, ...]:
    """Tell what the packed data is, and the base model.

    Raises:
        WrongInput: as `fingerprint_inputs`.
    """
    return fingerprint_inputs(contract, context.volume)


def check(contract: TrainContract, context: StageContext) -> None:
    """Check the inputs; whether there is a checkpoint is seen when it is read.

    Raises:
        WrongInput: as `open_inputs` and `refuse_changes`.
    """
    open_inputs(contract, context.volume)
    refuse_changes(context.volume, contract, fingerprints(contract, context))


def run(contract: TrainContract, context: StageContext) -> Result:
    """Export the model.

    Raises:
        WrongInput: as `open_inputs`, `refuse_changes` and `complete_artifact`.
        Retryable: CheckpointMissing, or as `complete_artifact`.
    """
    inputs = open_inputs(contract, context.volume)
    refuse_changes(context.volume, contract, context.fingerprints)
    paths = make_paths(contract, context.volume, "export")
    last = _last_checkpoint(paths, inputs)
    writer = ArtifactWriter(context.volume, contract, context.fingerprints)
    for left in writer.directory.glob("*.safetensors"):
        left.unlink()  # by a Pod that was killed; it would count as done
    total = expected_bytes(contract, inputs, last)
    with growth_reported([paths.unified, writer.directory], total, context.reporter):
        run = Run(contract, inputs, plan_work(contract, inputs), paths)
        return complete_artifact(run, last, read_log(paths.training_log), writer, context.reporter)


def _last_checkpoint(paths: RunPaths, inputs: TrainingInputs) -> Checkpoint:
    """Give the checkpoint of the last step; a node that has looked too early may not see it at once.

    Raises:
        Retryable: CheckpointMissing.
    """
    found = find_resumption(paths.checkpoints, inputs.schedule.devices)
    if found.checkpoint is None or found.step < inputs.schedule.total_steps:
        remark = f"; {found.remark}" if found.remark else ""
        raise Retryable(
            "CheckpointMissing",
            f"there is no complete checkpoint of step {inputs.schedule.total_steps} in {paths.checkpoints}, the latest "
            f"is of step {found.step}; create the object again, which trains on from there, or by hand run msrun first"
            f"{remark}",
        )
    return found.checkpoint

"""From the last checkpoint to the artifact: the model that is exported, and the run summed up."""

from pathlib import Path
from typing import Final

from distill_runtime.contract import Result, TrainContract
from distill_runtime.storage.artifact import ArtifactWriter
from distill_runtime.training.attempt import RunPaths, training_metrics
from distill_runtime.training.attempt_log import AttemptRecord, end_run, nodes_of
from distill_runtime.training.checkpoints import Checkpoint
from distill_runtime.training.export import export_model, unify_checkpoint
from distill_runtime.training.inputs import TrainingInputs
from distill_runtime.training.training_log import TrainingLogFollower

_PACKAGES: Final = ("mindspore", "mindformers")


def complete_run(
    contract: TrainContract,
    inputs: TrainingInputs,
    paths: RunPaths,
    last: Checkpoint,
    attempt: AttemptRecord,
    writer: ArtifactWriter,
) -> Result:
    """Export the model, make its artifact complete, and sum the run up.

    The last checkpoint says how many steps were done. The log should have them all; what a volume lost of it, for all
    that it was synced, is counted.
    """
    weights = _whole_weights(contract, paths, last)
    export_model(weights, inputs.model, inputs.architecture, inputs.end_token, writer.directory)
    steps = inputs.schedule.total_steps
    records = list(TrainingLogFollower(paths.training_log).read_new())
    unlogged = steps - len(records)
    attempt = attempt.model_copy(update={"nodes": nodes_of(paths.all_logs, contract.attempt)})
    attempts = end_run(paths.attempts, attempt, records)
    metrics = training_metrics(records, attempts, inputs)
    counts = {
        "steps": steps,
        "sequences": inputs.sequences,
        **inputs.schedule.counts,
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


def _whole_weights(contract: TrainContract, paths: RunPaths, checkpoint: Checkpoint) -> list[Path]:
    """Give files that together hold the whole weights: with data parallelism on CPU, every worker's does."""
    if contract.device_target == "CPU" or len(checkpoint.files) == 1:
        return [checkpoint.files[0]]
    return unify_checkpoint(checkpoint.directory, paths.strategies, paths.unified, paths.logs)

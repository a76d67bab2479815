"""What comes after the last step: the attempt's line, the run summed up, and the artifact of the exported model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from distill_runtime.contract import ArtifactReference, Result, TrainContract
from distill_runtime.foundation.errors import Retryable
from distill_runtime.process.progress import Reporter
from distill_runtime.storage.artifact import ArtifactWriter, versions_of
from distill_runtime.training.attempt import RunPaths, training_metrics
from distill_runtime.training.attempt_log import AttemptRecord, end_run, nodes_of, read_attempts
from distill_runtime.training.best import find_best
from distill_runtime.training.checkpoints import Checkpoint, complete_checkpoints
from distill_runtime.training.export import export_model, unify_checkpoint
from distill_runtime.training.inputs import TrainingInputs
from distill_runtime.training.live_report import Run, write_final_report
from distill_runtime.training.lora import Adapted
from distill_runtime.training.training_log import StepRecord

_PACKAGES: Final = ("mindspore", "mindformers")


@dataclass(frozen=True)
class Summary:
    """A run in figures, as in the manifest, and in words.

    Attributes:
        counts: by the names of the manifest.
        metrics: likewise.
        words: what was done, and with which loss.
    """

    counts: dict[str, int]
    metrics: dict[str, float]
    words: str

    def result(self, what_there_is: str, artifact: ArtifactReference | None = None) -> Result:
        """Give a stage's last word."""
        return Result(
            outcome="Succeeded",
            reason="Trained",
            message=f"{self.words}; {what_there_is}",
            artifact=artifact,
            counts=self.counts,
            metrics=self.metrics,
        )


def end_attempt(
    contract: TrainContract, paths: RunPaths, attempt: AttemptRecord, records: Sequence[StepRecord]
) -> None:
    """Make the line of the attempt complete in which the last step was saved.

    Args:
        records: the training log.
    """
    nodes = nodes_of(paths.all_logs, contract.attempt)
    end_run(paths.attempts, attempt.model_copy(update={"nodes": nodes}), records)


def sum_up(run: Run, records: list[StepRecord]) -> Summary:
    """Sum up a run whose last attempt has ended, by its training log.

    The last checkpoint says how many steps were done. The log should have them all; what a volume lost of it, for all
    that it was synced, is counted.
    """
    inputs, paths = run.inputs, run.paths
    steps = inputs.schedule.total_steps
    unlogged = steps - len(records)
    metrics = training_metrics(records, read_attempts(paths.attempts), inputs, run.work)
    counts = {
        "steps": steps,
        "epoch": inputs.schedule.epochs,
        "sequences": inputs.sequences,
        **inputs.schedule.counts,
        "overflowSteps": sum(record.overflow for record in records),
        **({"unloggedSteps": unlogged} if unlogged else {}),
    }
    loss = f"loss {metrics['loss']:.4g}" if records else "loss unknown"
    gap = f" (the training log lacks {unlogged} of them)" if unlogged else ""
    return Summary(counts, metrics, f"trained {steps} steps{gap}, {loss}")


def complete_artifact(
    run: Run, last: Checkpoint, records: list[StepRecord], writer: ArtifactWriter, reporter: Reporter
) -> Result:
    """Export the model of the last checkpoint, or of the best, and make the artifact complete.

    Args:
        records: the training log.

    Raises:
        WrongInput: as `export_model`.
        Retryable: as `unify_checkpoint`.
    """
    contract, inputs, paths = run.contract, run.inputs, run.paths
    checkpoint = last if contract.checkpoint.export == "last" else _best_checkpoint(contract, inputs, paths, records)
    reporter.update(message=f"exporting the model of step {checkpoint.step}")
    weights = _whole_weights(contract, paths, checkpoint)
    lora = contract.training.lora
    adapted = None if lora is None else Adapted(lora, contract.model.uri)
    export_model(weights, inputs.model, inputs.architecture, inputs.end_token, adapted, writer.directory)
    summary = sum_up(run, records)
    write_final_report(run, records)
    summary = replace(summary, counts={**summary.counts, "exportedStep": checkpoint.step})
    artifact = writer.finish(
        summary.counts, summary.metrics, inputs=[contract.dataset], versions=versions_of(_PACKAGES)
    )
    which = "the model" if contract.checkpoint.export == "last" else f"the model of the best step, {checkpoint.step},"
    return summary.result(f"{which} is in {artifact.uri}", artifact)


def _best_checkpoint(
    contract: TrainContract, inputs: TrainingInputs, paths: RunPaths, records: Sequence[StepRecord]
) -> Checkpoint:
    """Give the whole checkpoint with the lowest loss.

    Raises:
        Retryable: CheckpointMissing.
    """
    whole = {found.step: found for found in complete_checkpoints(paths.checkpoints, inputs.schedule.devices)}
    step = find_best(whole, records, contract.checkpoint.every_steps)
    if step is None:
        raise Retryable(
            "CheckpointMissing",
            f"the training log {paths.training_log} has the loss of no step up to a whole checkpoint in "
            f"{paths.checkpoints}, so that none is known to be the best; restore it, or create the object with "
            "checkpoint.export last",
        )
    return whole[step]


def has_parts(contract: TrainContract, checkpoint: Checkpoint) -> bool:
    """Tell whether each worker has saved a part; with data parallelism on CPU every one has saved all."""
    return contract.device_target != "CPU" and len(checkpoint.files) > 1


def _whole_weights(contract: TrainContract, paths: RunPaths, checkpoint: Checkpoint) -> list[Path]:
    """Give files that together hold the whole weights."""
    if not has_parts(contract, checkpoint):
        return [checkpoint.files[0]]
    return unify_checkpoint(checkpoint.directory, paths.strategies, paths.unified, paths.logs)

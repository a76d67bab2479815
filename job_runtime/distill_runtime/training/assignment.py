"""What the stage tells its workers besides the MindFormers YAML: a JSON file."""

import signal
from pathlib import Path
from typing import Final

from pydantic import Field

from distill_runtime.contract import Model
from distill_runtime.contract.parameters.training import ExportedCheckpoint
from distill_runtime.contract.stages import DeviceTarget

STACKS_SIGNAL: Final = signal.SIGUSR1
"""Has a worker write the Python stacks of all its threads to its log."""


class Assignment(Model):
    """A worker's orders. All paths are absolute; all workers are given the same file."""

    device_target: DeviceTarget
    configuration: Path = Field(description="The MindFormers YAML.")
    checkpoints: Path = Field(description="Directory of checkpoints.")
    checkpoint_every_steps: int = Field(ge=1)
    checkpoints_kept: int = Field(ge=1)
    checkpoint_exported: ExportedCheckpoint = Field(description="The best is kept besides.")
    ground: Path = Field(description="The attempt's own directory, which goes when another one begins.")
    training_log: Path
    compiled: Path = Field(description="Directory of compiled graphs, which the next attempt need not compile again.")
    failures: Path = Field(description="Directory in which a worker explains why it gives up.")
    stopping: Path = Field(description="Directory in which the workers agree on when to stop.")
    workers: int = Field(ge=1, description="Worker processes in all.")
    reporting_rank: int = Field(ge=0, description="The worker that knows the loss and writes the log.")
    summed_losses: int = Field(
        ge=1, description="Micro-batches whose losses the network adds up, as it does with pipeline parallelism."
    )
    steps_per_epoch: int = Field(ge=1)
    total_steps: int = Field(ge=1)
    resume_step: int = Field(ge=0, description="Steps done already.")


class Failure(Model):
    """Why a worker gave up, when it knows."""

    reason: str
    message: str
    final: bool = Field(default=True, description="Whether the next attempt would fail in the same way.")


def failure_file(failures: Path, rank: int) -> Path:
    """Name the file in which a worker explains itself."""
    return failures / f"failure-rank-{rank}.json"

"""What a worker is told, for tests of a worker alone."""

from pathlib import Path
from typing import Any

from distill_runtime.training.assignment import Assignment


def assignment(work: Path, **changes: Any) -> Assignment:
    """Give the orders of the one worker of a training of four steps on a CPU; `changes` replace its fields."""
    fields = {
        "device_target": "CPU",
        "configuration": work / "mindformers.yaml",
        "checkpoints": work / "checkpoints",
        "checkpoint_every_steps": 2,
        "checkpoints_kept": 1,
        "checkpoint_exported": "last",
        "ground": work,
        "training_log": work / "log.jsonl",
        "compiled": work / "compiled",
        "failures": work,
        "stopping": work / "stopping",
        "workers": 1,
        "reporting_rank": 0,
        "summed_losses": 1,
        "steps_per_epoch": 4,
        "total_steps": 4,
        "resume_step": 0,
    }
    return Assignment.model_validate(fields | changes)

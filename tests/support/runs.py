"""What runs leave on the volume."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from support.student import write_student, write_weights

from distill_runtime.contract import TrainContract
from distill_runtime.training.checkpoints import checkpoint_file
from distill_runtime.training.training_log import StepRecord
from distill_runtime.training.weight_names import to_mindformers


def leave_trained(root: Path, contract: TrainContract, steps: int) -> dict[str, np.ndarray]:
    """Leave what a run leaves that was killed after its last step; gives the trained weights."""
    weights = write_weights(write_student(root / "elsewhere"))
    save_step(root, steps, weights)
    partial = root / "trained.partial"
    partial.mkdir()
    (partial / "contract.json").write_text(contract.model_dump_json(by_alias=True))
    (partial / "attempts.jsonl").write_text('{"attempt":1,"resumedFromStep":0,"lostSteps":0}\n')
    (partial / "mindformers.yaml").write_text("seed: 42\n")
    records = [
        StepRecord(step=step, epoch=1, loss=2.0, learning_rate=1e-3, seconds=1.0).model_dump_json(by_alias=True)
        for step in range(1, steps + 1)
    ]
    (partial / "training-log.jsonl").write_text("\n".join(records) + "\n")
    return weights


def save_step(root: Path, step: int, weights: Mapping[str, np.ndarray]) -> None:
    """Save a checkpoint of that run, of one worker, without the optimizer's states."""
    file = checkpoint_file(root / "trained.work" / "checkpoints", step, 2, 0, 1)
    file.parent.mkdir(parents=True)
    save_file({to_mindformers(name): array for name, array in weights.items()}, file)

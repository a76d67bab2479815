"""What a worker writes after a step."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distill_runtime.training.assignment import Assignment
from distill_runtime.training.checkpoints import complete_checkpoints

pytestmark = pytest.mark.mindspore


def test_the_log_is_durable_before_the_checkpoint_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mindspore  # noqa: PLC0415

    from distill_runtime.training.monitor import TrainingMonitor  # noqa: PLC0415

    assignment = Assignment(
        device_target="CPU",
        configuration=tmp_path / "mindformers.yaml",
        checkpoints=tmp_path / "checkpoints",
        checkpoint_every_steps=2,
        checkpoints_kept=1,
        training_log=tmp_path / "log.jsonl",
        compiled=tmp_path / "compiled",
        failures=tmp_path,
        workers=1,
        reporting_rank=0,
        summed_losses=1,
        steps_per_epoch=4,
        total_steps=4,
        resume_step=0,
    )
    synced: list[tuple[str, int]] = []

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path.name, path.stat().st_size if path.is_file() else 0))

    monkeypatch.setattr(os, "fsync", fsync)
    monitor = TrainingMonitor(assignment)
    network = mindspore.nn.Dense(2, 2)
    optimizer = SimpleNamespace(global_step=mindspore.Parameter(mindspore.Tensor([2], mindspore.int32)))
    scalar = mindspore.Tensor(0.5)
    for step in (1, 2):
        parameters: dict[str, Any] = {
            "cur_step_num": step,
            "cur_epoch_num": 1,
            "net_outputs": (scalar, mindspore.Tensor(False), scalar, scalar, None),
            "train_network": network,
            "network": SimpleNamespace(optimizer=optimizer),
        }
        monitor.on_train_step_end(SimpleNamespace(original_args=lambda it=parameters: SimpleNamespace(**it)))
    assert [name for name, _ in synced] == ["log.jsonl", "rank_0.safetensors", "step-00000002"]
    assert synced[0][1] == (tmp_path / "log.jsonl").stat().st_size
    assert len((tmp_path / "log.jsonl").read_bytes().splitlines()) == 2
    assert [checkpoint.step for checkpoint in complete_checkpoints(assignment.checkpoints, 1)] == [2]

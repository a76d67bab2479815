"""What a worker writes after a step."""

import os
from pathlib import Path

import pytest
from support.assignments import assignment
from support.steps import do_step

from distill_runtime.training.checkpoints import complete_checkpoints
from distill_runtime.training.stopping import Stopping

pytestmark = pytest.mark.mindspore


def test_told_to_stop_it_saves_the_step_under_way(tmp_path: Path) -> None:
    from distill_runtime.training.monitor import TrainingMonitor  # noqa: PLC0415

    orders = assignment(tmp_path, checkpoint_every_steps=100)
    stopping = Stopping(orders.stopping)
    stopping.reset()
    monitor = TrainingMonitor(orders)
    assert not do_step(monitor, 1)
    stopping.request()
    assert do_step(monitor, 2)
    assert [checkpoint.step for checkpoint in complete_checkpoints(orders.checkpoints, 1)] == [2]


def test_the_log_is_durable_before_the_checkpoint_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distill_runtime.training.monitor import TrainingMonitor  # noqa: PLC0415

    orders = assignment(tmp_path)
    synced: list[tuple[str, int]] = []

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path.name, path.stat().st_size if path.is_file() else 0))

    monkeypatch.setattr(os, "fsync", fsync)
    monitor = TrainingMonitor(orders)
    for step in (1, 2):
        assert not do_step(monitor, step)
    assert [name for name, _ in synced] == ["log.jsonl", "rank_0.safetensors", "step-00000002"]
    assert synced[0][1] == (tmp_path / "log.jsonl").stat().st_size
    assert len((tmp_path / "log.jsonl").read_bytes().splitlines()) == 2
    assert [checkpoint.step for checkpoint in complete_checkpoints(orders.checkpoints, 1)] == [2]


@pytest.mark.parametrize(("exported", "kept"), [("last", [4]), ("best", [4, 2])])
def test_the_best_checkpoint_is_kept_besides_where_it_is_to_be_exported(
    tmp_path: Path, exported: str, kept: list[int]
) -> None:
    from distill_runtime.training.monitor import TrainingMonitor  # noqa: PLC0415

    orders = assignment(tmp_path, checkpoint_exported=exported)
    monitor = TrainingMonitor(orders)
    for step, loss in enumerate((1.0, 1.0, 0.5, 2.5), start=1):
        do_step(monitor, step, loss)
    assert [checkpoint.step for checkpoint in complete_checkpoints(orders.checkpoints, 1)] == kept

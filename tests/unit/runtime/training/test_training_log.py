"""The log of steps: followed while it grows, cut back when training resumes."""

import os
from pathlib import Path

import pytest

from distill_runtime.training.training_log import StepRecord, TrainingLogFollower, TrainingLogWriter, cut_log


def record(step: int) -> StepRecord:
    return StepRecord(step=step, epoch=1, loss=1.5, learning_rate=1e-4, seconds=0.5)


def write(path: Path, *steps: int) -> None:
    writer = TrainingLogWriter(path)
    for step in steps:
        writer.write(record(step))


def test_each_record_is_given_once(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    follower = TrainingLogFollower(path)
    assert list(follower.read_new()) == []
    write(path, 1, 2)
    assert [found.step for found in follower.read_new()] == [1, 2]
    write(path, 3)
    assert list(follower.read_new()) == [record(3)]


def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path, 1)
    line = path.read_bytes()
    follower = TrainingLogFollower(path)
    path.write_bytes(line[:20])
    assert list(follower.read_new()) == []
    path.write_bytes(line)
    assert list(follower.read_new()) == [record(1)]


def test_a_log_that_was_cut_back_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path, 1, 2, 3)
    follower = TrainingLogFollower(path)
    list(follower.read_new())
    cut_log(path, 1)
    assert list(follower.read_new()) == [record(1)]


def test_cutting_gives_the_steps_that_are_lost(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path, 1, 2, 3, 4, 5)
    with path.open("ab") as file:
        file.write(b'{"step":6,"epo')
    kept, lost = cut_log(path, 3)
    assert ([found.step for found in kept], [found.step for found in lost]) == ([1, 2, 3], [4, 5])
    assert [found.step for found in TrainingLogFollower(path).read_new()] == [1, 2, 3]


def test_a_sync_makes_durable_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    durable: list[bytes] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: durable.append(Path(f"/proc/self/fd/{descriptor}").read_bytes())
    )
    writer = TrainingLogWriter(path)
    writer.write(record(1))
    assert durable == []
    writer.sync()
    assert durable == [path.read_bytes()]


def test_there_is_nothing_to_cut_before_the_first_step(tmp_path: Path) -> None:
    assert cut_log(tmp_path / "log.jsonl", 0) == ([], [])

"""An attempt that was given up and goes on changes nothing that a later one reads."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.assignments import assignment
from support.steps import do_step

from distill_runtime.contract import EXIT_RETRY
from distill_runtime.foundation.errors import Retryable
from distill_runtime.training.checkpoints import complete_checkpoints
from distill_runtime.training.fence import Ground
from distill_runtime.training.training_log import cut_log


def begin(work: Path, attempt: int, run: str = "u1") -> Ground:
    ground = Ground(work, attempt, run)
    ground.take()
    return ground


def test_the_next_attempt_takes_all_others_away(tmp_path: Path) -> None:
    first = begin(tmp_path, 1)
    (first.directory / "rank_0.safetensors").touch()
    begin(tmp_path, 9, "of-an-earlier-object")
    second = begin(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["attempt-2-u1"]
    second.check_held()
    with pytest.raises(Retryable, match="another attempt has begun") as late:
        first.check_held()
    assert (late.value.reason, late.value.failure_class) == ("Superseded", "infrastructure")


def test_an_attempt_that_begins_late_does_not_begin(tmp_path: Path) -> None:
    """Its Pod was given up while it waited for its image."""
    second = begin(tmp_path, 2)
    with pytest.raises(Retryable, match="attempt 2 of this run has begun"):
        begin(tmp_path, 1)
    with pytest.raises(Retryable, match="attempt 2 of this run has begun"):
        Ground(tmp_path, 1, "u1").check_not_superseded()  # what its other nodes look at
    assert list(tmp_path.iterdir()) == [second.directory]


def test_of_two_that_begin_at_once_the_later_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Path.mkdir

    def meanwhile(path: Path, *arguments: int, **options: bool) -> None:
        if path.name == "attempt-1-u1":
            monkeypatch.setattr(Path, "mkdir", make)
            begin(tmp_path, 2)
        make(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", meanwhile)
    with pytest.raises(Retryable, match="attempt 2 of this run has begun"):
        begin(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["attempt-2-u1"]


def test_the_same_attempt_begins_again(tmp_path: Path) -> None:
    """It was suspended, and its Pods have ended."""
    begin(tmp_path, 3).open_to_all(tmp_path / "log.jsonl")
    again = begin(tmp_path, 3)
    assert not again.is_open
    again.open_to_all(tmp_path / "log.jsonl")
    assert again.is_open


@pytest.mark.mindspore
def test_a_checkpoint_under_way_is_not_saved_once_another_attempt_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the worker has looked at before: also where something makes its directory again."""
    import mindspore  # noqa: PLC0415

    from distill_runtime.training.monitor import TrainingMonitor  # noqa: PLC0415

    first = begin(tmp_path, 1)
    orders = assignment(tmp_path, ground=first.directory, checkpoint_every_steps=1)
    save = mindspore.save_checkpoint

    def saves_late(network: object, path: str, **options: object) -> None:
        begin(tmp_path, 2)
        Path(path).parent.mkdir()
        save(network, path, **options)

    monkeypatch.setattr(mindspore, "save_checkpoint", saves_late)
    with pytest.raises(Retryable, match="the checkpoint of step 1 is not saved") as late:
        do_step(TrainingMonitor(orders), 1)
    assert late.value.reason == "Superseded"
    assert list(complete_checkpoints(orders.checkpoints, 1)) == []


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[tuple[Ground, subprocess.Popen[bytes]]]:
    """A worker of attempt 1 that saves a checkpoint after every step."""
    first = begin(tmp_path, 1)
    first.open_to_all(tmp_path / "training-log.jsonl")
    command = [sys.executable, "-m", "support.steps", str(tmp_path), str(first.directory)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    try:
        yield first, process
    finally:
        process.kill()
        process.wait()


@pytest.mark.mindspore
def test_a_worker_that_comes_back_ends_and_changes_nothing(
    tmp_path: Path, worker: tuple[Ground, subprocess.Popen[bytes]]
) -> None:
    """It is stopped wherever it is, as by a node that hangs, and goes on when the next attempt has begun."""
    _, process = worker
    checkpoints, log = tmp_path / "checkpoints", tmp_path / "training-log.jsonl"
    while next(iter(complete_checkpoints(checkpoints, 1)), None) is None:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    second = begin(tmp_path, 2)
    resumed = next(complete_checkpoints(checkpoints, 1))
    cut_log(log, resumed.step)
    second.open_to_all(log)
    before = resumed.load_path.read_bytes(), log.read_bytes()
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output.split()[-1]) == (EXIT_RETRY, b"Superseded")
    assert next(complete_checkpoints(checkpoints, 1)) == resumed
    assert (resumed.load_path.read_bytes(), log.read_bytes()) == before
    assert not Ground(tmp_path, 1, "u1").directory.exists()

"""Which checkpoints are resumed from and which are deleted."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from distill_runtime.training.checkpoints import (
    checkpoint_file,
    complete_checkpoints,
    delete_old,
    find_resumption,
    saved_steps,
)


def save(checkpoints: Path, step: int, rank: int = 0, workers: int = 1) -> Path:
    path = checkpoint_file(checkpoints, step, 1, rank, workers)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"weight": np.ones(4, np.float32)}, path)
    return path


def steps(checkpoints: Path, workers: int = 1) -> list[int]:
    return [checkpoint.step for checkpoint in complete_checkpoints(checkpoints, workers)]


def test_the_latest_comes_first(tmp_path: Path) -> None:
    for step in (5, 100, 20):
        save(tmp_path, step)
    assert steps(tmp_path) == [100, 20, 5]


def test_none_before_the_first(tmp_path: Path) -> None:
    assert steps(tmp_path / "checkpoints") == []


def test_a_torn_one_is_passed_over_and_said(tmp_path: Path) -> None:
    save(tmp_path, 5)
    torn = save(tmp_path, 10)
    torn.write_bytes(torn.read_bytes()[:-3])
    assert steps(tmp_path) == [5]
    found = find_resumption(tmp_path, 1)
    assert found.step == 5
    assert found.remark == (
        f"training goes on from the checkpoint of step 5, since that of step 10 is damaged: {torn} has "
        f"{torn.stat().st_size} bytes, its header announces {torn.stat().st_size + 3}"
    )


def test_one_that_lacks_a_workers_file_is_passed_over_and_said(tmp_path: Path) -> None:
    for rank in (0, 1):
        save(tmp_path, 5, rank, workers=2)
    save(tmp_path, 10, 0, workers=2)
    assert steps(tmp_path, workers=2) == [5]
    assert find_resumption(tmp_path, 2).remark.endswith("step 5, since that of step 10 lacks a worker's file")


def test_where_none_is_whole_training_begins_anew(tmp_path: Path) -> None:
    save(tmp_path, 5).write_bytes(b"")
    found = find_resumption(tmp_path, 1)
    assert (found.checkpoint, found.step) == (None, 0)
    assert found.remark.startswith("training begins anew, since that of step 5 is damaged: ")


def test_of_whole_ones_there_is_nothing_to_say(tmp_path: Path) -> None:
    for step in (5, 10):
        save(tmp_path, step)
    found = find_resumption(tmp_path, 1)
    assert (found.step, found.remark) == (10, "")


def test_mindformers_loads_a_file_of_one_worker_and_a_directory_of_several(tmp_path: Path) -> None:
    file = save(tmp_path / "one", 5)
    save(tmp_path / "two", 5, 0, workers=2)
    save(tmp_path / "two", 5, 1, workers=2)
    (one,) = complete_checkpoints(tmp_path / "one", 1)
    (two,) = complete_checkpoints(tmp_path / "two", 2)
    assert one.load_path == file
    assert not file.parent.name.startswith("rank_")
    assert two.load_path == tmp_path / "two" / "step-00000005"


def test_all_but_the_latest_are_deleted(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path, step)
    delete_old(tmp_path, saved_steps(tmp_path, 1), keep=2, best=None)
    assert steps(tmp_path) == [4, 3]


def test_the_best_stays_besides(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path, step)
    delete_old(tmp_path, saved_steps(tmp_path, 1), keep=2, best=1)
    assert steps(tmp_path) == [4, 3, 1]


def test_one_that_another_worker_is_still_saving_does_not_count(tmp_path: Path) -> None:
    for rank in (0, 1):
        save(tmp_path, 5, rank, workers=2)
    save(tmp_path, 10, 0, workers=2)
    delete_old(tmp_path, saved_steps(tmp_path, 2), keep=1, best=None)
    assert steps(tmp_path, workers=2) == [5]


def test_an_incomplete_one_goes_once_it_is_older_than_what_is_kept(tmp_path: Path) -> None:
    save(tmp_path, 5, 0, workers=2)
    for rank in (0, 1):
        save(tmp_path, 10, rank, workers=2)
    delete_old(tmp_path, saved_steps(tmp_path, 2), keep=1, best=None)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000010"]

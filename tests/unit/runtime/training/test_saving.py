"""When the last checkpoint was saved."""

import os
from pathlib import Path

from distill_runtime.training.checkpoints import checkpoint_file
from distill_runtime.training.saving import Saved, SavedCheckpoints


def save(root: Path, step: int, rank: int, time: int) -> None:
    file = checkpoint_file(root, step, 1, rank, 2)
    file.parent.mkdir(parents=True)
    file.touch()
    os.utime(file, (time, time))


def test_a_checkpoint_counts_once_every_worker_has_written_its_file(tmp_path: Path) -> None:
    saved = SavedCheckpoints(tmp_path, workers=2, every_steps=3, resumed=0)
    assert saved.look(1) is None
    save(tmp_path, 3, 0, 1000)
    assert saved.look(4) is None
    save(tmp_path, 3, 1, 1005)
    assert saved.look(5) == Saved(3, 1005)
    assert saved.look(7) == Saved(3, 1005)  # that of step 6 is not there yet


def test_a_run_that_goes_on_has_that_which_it_goes_on_from(tmp_path: Path) -> None:
    save(tmp_path, 3, 0, 1000)
    save(tmp_path, 3, 1, 1000)
    assert SavedCheckpoints(tmp_path, workers=2, every_steps=3, resumed=3).look(4) == Saved(3, 1000)

"""Checkpoints: which there are, which of them are whole, which to keep.

    checkpoints/step-00000500/model-1_500.safetensors                 one worker
    checkpoints/step-00000500/rank_0/model_rank_0-1_500.safetensors   several, a file each

The names within a step's directory are the ones MindFormers loads (epoch and step after the dash; a single file must
not be below a rank_* directory). A file is written elsewhere, made durable and renamed, so a name means a whole file
as far as the file system keeps its promises; its length is checked against its header all the same. A step is
complete when every worker's file is there, and only complete steps are resumed from.

MindFormers 1.8 calls this its legacy format and takes it unless told otherwise. Its other one, iteration_<step> with a
tracker file (checkpoint/checkpoint.py), is written in place and with the tracker truncated first: a kill tears both.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from distill_runtime.training.tensors import TornFile, read_tensors

_STEP: Final = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint.

    Attributes:
        step: steps done when it was saved.
        directory: the step's directory.
        files: the workers' files, by rank.
    """

    step: int
    directory: Path
    files: tuple[Path, ...]

    @property
    def load_path(self) -> Path:
        """What MindFormers' load_checkpoint is set to."""
        return self.files[0] if len(self.files) == 1 else self.directory


@dataclass(frozen=True)
class Unusable:
    """A step of which there is no complete checkpoint, although something of one is there.

    Attributes:
        step: steps done when it was begun.
        why: what it lacks.
    """

    step: int
    why: str


@dataclass(frozen=True)
class Resumption:
    """Where an attempt goes on from.

    Attributes:
        checkpoint: the latest complete one; None if there is none.
        passed_over: later steps, the latest first.
    """

    checkpoint: Checkpoint | None
    passed_over: tuple[Unusable, ...] = ()

    @property
    def step(self) -> int:
        """Steps that are done and saved."""
        return 0 if self.checkpoint is None else self.checkpoint.step

    @property
    def remark(self) -> str:
        """What a person should know of it; empty if there is nothing."""
        if not self.passed_over:
            return ""
        what = "; ".join(f"that of step {one.step} {one.why}" for one in self.passed_over)
        where = "begins anew" if self.checkpoint is None else f"goes on from the checkpoint of step {self.step}"
        return f"training {where}, since {what}"


def checkpoint_file(checkpoints: Path, step: int, epoch: int, rank: int, workers: int) -> Path:
    """Name the file in which a worker saves a step."""
    directory = checkpoints / f"step-{step:08}"
    if workers == 1:
        return directory / f"model-{epoch}_{step}.safetensors"
    return directory / f"rank_{rank}" / f"model_rank_{rank}-{epoch}_{step}.safetensors"


def complete_checkpoints(checkpoints: Path, workers: int) -> Iterator[Checkpoint]:
    """Find the complete checkpoints, the latest first."""
    return (found for found in _examined(checkpoints, workers) if isinstance(found, Checkpoint))


def find_resumption(checkpoints: Path, workers: int) -> Resumption:
    """Find the latest complete checkpoint, and what is passed over for it."""
    passed_over: list[Unusable] = []
    for found in _examined(checkpoints, workers):
        if isinstance(found, Checkpoint):
            return Resumption(found, tuple(passed_over))
        passed_over.append(found)
    return Resumption(None, tuple(passed_over))


def saved_steps(checkpoints: Path, workers: int) -> list[int]:
    """List the steps that have every worker's file, the latest first. One that others are still saving is not there."""
    return [step for step, directory in _steps(checkpoints) if _files(directory, workers)]


def delete_old(checkpoints: Path, saved: Sequence[int], keep: int, best: int | None) -> None:
    """Delete all but the latest `keep` of the saved steps and `best`, and what is older than those.

    To be called by one worker only. Killing everything at any moment leaves `keep` complete ones.

    Args:
        saved: as `saved_steps`.
        best: a step that is kept besides, if there is one.
    """
    if len(saved) < keep:
        return
    for step, directory in _steps(checkpoints):
        if step < saved[keep - 1] and step != best:
            shutil.rmtree(directory)


def _examined(checkpoints: Path, workers: int) -> Iterator[Checkpoint | Unusable]:
    """Look into the steps' directories, the latest first; which is looked into only when it is asked for."""
    for step, directory in _steps(checkpoints):
        files = _files(directory, workers)
        if files is None:
            yield Unusable(step, "lacks a worker's file")
            continue
        try:
            for file in files:
                read_tensors(file)
        except TornFile as error:
            yield Unusable(step, f"is damaged: {error}")
            continue
        yield Checkpoint(step=step, directory=directory, files=files)


def saved_at(checkpoints: Path, step: int, workers: int) -> float | None:
    """Give the time, in seconds since 1970, at which the last worker's file of a step was written.

    None while one is missing, or if the checkpoint is gone. The files' contents are not looked at.
    """
    try:
        files = _files(checkpoints / f"step-{step:08}", workers)
        return None if files is None else max(file.stat().st_mtime for file in files)
    except FileNotFoundError:
        return None  # deleted meanwhile


def _steps(checkpoints: Path) -> list[tuple[int, Path]]:
    """List the steps' directories, the latest first."""
    if not checkpoints.is_dir():
        return []
    found = ((_STEP.fullmatch(path.name), path) for path in checkpoints.iterdir())
    return sorted(((int(match[1]), path) for match, path in found if match), reverse=True)


def _files(directory: Path, workers: int) -> tuple[Path, ...] | None:
    """List the workers' files of a step by rank; None unless there is one of each."""
    patterns = ["*.safetensors"] if workers == 1 else [f"rank_{rank}/*.safetensors" for rank in range(workers)]
    files = [sorted(directory.glob(pattern)) for pattern in patterns]
    return tuple(found[0] for found in files) if all(len(found) == 1 for found in files) else None

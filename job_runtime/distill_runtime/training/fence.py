"""How an attempt shuts those before it out, some of whose processes may still run: on a node that was given up.

A file becomes part of the run by being renamed from a directory of the attempt's own, `<output>.work/attempt-<n>`. The
first thing that an attempt does is to take those of the attempts before it away. From then on whatever they do is
without effect: the name, or the directory that they hold open, is gone, so the rename fails, however late it comes and
whoever has looked at what before. An attempt that begins late sees the one of a later attempt, and does not begin.

    <output>.work/attempt-<n>-<run>/rank_<r>.safetensors   a checkpoint's part that is not whole yet
    <output>.work/attempt-<n>-<run>/training-log.jsonl     a link to the log, which every attempt writes anew
    <output>.work/attempt-<n>-<run>/stopping, initial, base  see `attempt`

POSIX has a rename be atomic. On NFS a client that holds a directory's handle is told that it is stale.
"""

import logging
import os
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from distill_runtime.foundation.errors import Retryable

logger = logging.getLogger(__name__)

SUPERSEDED: Final = "Superseded"
_OWN: Final = re.compile(r"attempt-(?P<attempt>\d+)(?:-(?P<run>.+))?")
_TAKEN_AWAY: Final = "taken-away-"
_LOG_LINK: Final = "training-log.jsonl"


@dataclass(frozen=True)
class Ground:
    """An attempt's own directory.

    Attributes:
        work: `<output>.work`.
        attempt: the attempt's number.
        run: what tells the attempts of this run from those of an earlier object of its name; may be empty.
    """

    work: Path
    attempt: int
    run: str

    @property
    def directory(self) -> Path:
        """The directory; it exists while no later attempt has begun."""
        return self.work / (f"attempt-{self.attempt}-{self.run}" if self.run else f"attempt-{self.attempt}")

    @property
    def log_link(self) -> Path:
        """The name by which this attempt's workers write the training log."""
        return self.directory / _LOG_LINK

    def take(self) -> None:
        """Make the directory, and take those of the attempts before away.

        Each makes its own before it looks at the others, so of two that begin at once the earlier one sees the later.

        Raises:
            Retryable: Superseded, if a later one of the same run has begun.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        self.check_not_superseded()
        _take_away(self.directory)  # of this very attempt, whose Job was deleted and made again
        self.directory.mkdir()
        try:
            self.check_not_superseded()
        except Retryable:
            _take_away(self.directory)
            raise
        for path in self.work.iterdir():
            if path.name.startswith(_TAKEN_AWAY) or (_OWN.fullmatch(path.name) and path != self.directory):
                _take_away(path)

    def open_to_all(self, training_log: Path) -> None:
        """Let the other nodes' workers begin: the log is cut, and they write it through the link."""
        self.log_link.symlink_to(os.path.relpath(training_log, self.directory))

    @property
    def is_open(self) -> bool:
        """Whether the first node has begun this attempt."""
        return self.log_link.is_symlink()

    def check_not_superseded(self) -> None:
        """Make sure that no later attempt of this run has begun.

        Raises:
            Retryable: Superseded.
        """
        if not self.work.is_dir():
            return
        found = (_OWN.fullmatch(path.name) for path in self.work.iterdir())
        later = [int(match["attempt"]) for match in found if match and (match["run"] or "") == self.run]
        if max(later, default=0) > self.attempt:
            raise superseded(f"attempt {max(later)} of this run has begun")

    def check_held(self) -> None:
        """Make sure that this attempt, which has begun, is the current one.

        Raises:
            Retryable: Superseded.
        """
        check_held(self.directory)


def check_held(directory: Path) -> None:
    """Make sure that an attempt's own directory is still there.

    Raises:
        Retryable: Superseded.
    """
    if not directory.is_dir():
        raise superseded(f"another attempt has begun, which has taken {directory} away")


def superseded(why: str) -> Retryable:
    """Say that an attempt has no effect any more."""
    return Retryable(SUPERSEDED, f"{why}; this one ends, and changes nothing that it reads", "infrastructure")


def _take_away(directory: Path) -> None:
    """Remove a directory, first of all its name: what is written by that name fails from then on."""
    taken = directory
    if not directory.name.startswith(_TAKEN_AWAY):
        taken = directory.with_name(f"{_TAKEN_AWAY}{uuid.uuid4().hex}")
        try:
            directory.rename(taken)
        except FileNotFoundError:
            return
    shutil.rmtree(taken)

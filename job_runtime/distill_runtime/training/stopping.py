"""How the workers agree on the step after which they stop, so that all save the same one.

A Pod that is told to end asks by a file; the worker that writes the training log answers, at the end of a step, that
all stop after the next. No rank can come to the end of that one before the answer is there: a step's gradients need
every rank, and the one that answers begins the step after it has written. With one worker it is the very step.

A node whose workers have failed says so by a third file, before its Pod ends and Kubernetes tells the others to: they
have no step to wait for.

MindSpore's OnRequestExit (train/callback/_on_request_exit.py) has the ranks agree by a parameter that is reduced over
them in every step, for which the network has to be compiled with MS_ENABLE_GRACEFUL_EXIT.

All three are there from the beginning, as long as ever, and are written in place and opened each time. So NFS, which
looks anew at a file that is opened (close-to-open consistency) but not at once for a name that was absent, shows what
was written to the workers of other nodes.
"""

import os
from pathlib import Path
from typing import Final

_ABSENT: Final = 0
_DIGITS: Final = 12


class Stopping:
    """The three files of an attempt, in a directory that all of its nodes see."""

    def __init__(self, directory: Path) -> None:
        self._request = directory / "stop-requested"
        self._after = directory / "stop-after-step"
        self._given_up = directory / "given-up"

    def reset(self) -> None:
        """Begin an attempt: nobody has asked."""
        self._request.parent.mkdir(parents=True, exist_ok=True)
        for path in (self._request, self._after, self._given_up):
            _write(path, _ABSENT)

    def request(self) -> None:
        """Ask all workers to save and to stop."""
        _write(self._request, 1)

    def give_up(self) -> None:
        """Say that workers have failed: no step is done any more."""
        _write(self._given_up, 1)

    def given_up(self) -> bool:
        """Tell whether workers of some node have failed."""
        return _read(self._given_up) != _ABSENT

    def answer(self, step: int) -> None:
        """Say after which step, if somebody has asked and it has not been said."""
        if _read(self._request) != _ABSENT and self.after() is None:
            _write(self._after, step)

    def after(self) -> int | None:
        """Give the step after which all stop."""
        step = _read(self._after)
        return None if step == _ABSENT else step


def _write(path: Path, number: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(descriptor, f"{number:0{_DIGITS}}\n".encode(), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> int:
    try:
        return int(path.read_bytes() or _ABSENT)
    except FileNotFoundError:
        return _ABSENT

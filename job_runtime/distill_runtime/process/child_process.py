"""Processes that a stage starts beside itself: they end when it does, and their last words are found again."""

import contextlib
import ctypes
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from distill_runtime.foundation.errors import Retryable
from distill_runtime.process.child_log import last_exception, read_end

_PARENT_VARIABLE: Final = "DISTILL_PARENT_PID"
_PR_SET_PDEATHSIG: Final = 1
_LAST_LINES: Final = 40
_ESSENCE_CHARACTERS: Final = 500
_STOPPED: Final = ("T", "t")


@dataclass(frozen=True)
class ChildProcess:
    """A process of this package's own code, with its output in a log.

    Attributes:
        name: for messages.
        process: its handle.
        log: what it writes to standard output and standard error.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """End it at once, and wait until it has."""
        self.process.kill()
        self.process.wait()

    def wait(self, seconds: float) -> None:
        """Wait until it ends by itself, so that SIGTERM still stops the stage at once.

        Args:
            seconds: how long it may take; then it is ended.

        Raises:
            Retryable: ChildFailed, with what it said last; ChildTimedOut.
        """
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise Retryable(
                "ChildTimedOut", f"{self.name} was not done after {seconds:.0f} s and was ended; its log is {self.log}"
            ) from error
        finally:
            self.kill()
        if code != 0:
            raise Retryable("ChildFailed", self.describe_end())

    def is_stopped(self) -> bool:
        """Tell whether a signal has stopped it, so that it does nothing more, whatever it is sent (proc(5), `stat`)."""
        try:
            status = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return False  # it has ended
        return status.rpartition(")")[2].split()[0] in _STOPPED

    def last_lines(self) -> list[str]:
        """Read the end of its log."""
        return read_end(self.log).splitlines()[-_LAST_LINES:]

    def how_it_ended(self) -> str:
        """Say how it ended: by itself, or by a signal."""
        code = self.process.returncode
        if code is None:
            return "was still running"
        if code == -signal.SIGKILL:
            return "was killed by SIGKILL, perhaps for lack of memory"
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def describe_end(self) -> str:
        """Say how it ended and what it said: the line of its last exception, else its last line."""
        how = self.how_it_ended()
        lines = [line for line in self.last_lines() if line.strip()]
        if not lines:
            return f"{self.name} {how}; its log is empty"
        exception = last_exception("\n".join(lines))
        said = exception.line if exception is not None else lines[-1].strip()
        return f"{self.name} {how}; it said: {said[:_ESSENCE_CHARACTERS]}"


def start(
    name: str,
    module: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    logs: Path,
) -> ChildProcess:
    """Start a module of this package, which must call `end_with_parent` first of all.

    Args:
        environment: added to this process's own.
        logs: an existing directory for its output, which becomes its working directory: MindSpore writes there.
    """
    log = logs / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={
                **os.environ,
                # It finds modules where this process does, wherever its working directory is.
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "PYTHONUNBUFFERED": "1",
                _PARENT_VARIABLE: str(os.getpid()),
                **environment,
            },
            cwd=logs,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return ChildProcess(name, process, log)


def make_logs_directory(complete: Path, attempt: str) -> Path:
    """Make a directory for the logs of an attempt on this host, a new one even when it is repeated.

    Logs lie beside the artifact, in `<output>.logs/<attempt>-<host>`: they are of use when it does not come to be,
    and other Pods may still be writing to theirs while the first one finishes it.

    Args:
        complete: path of the artifact.
        attempt: what it is of, such as attempt-2.
    """
    parent = complete.with_name(complete.name + ".logs")
    name = f"{attempt}-{socket.gethostname()}"
    for suffix in itertools.chain([""], (f"-{number}" for number in itertools.count(2))):
        directory = parent / f"{name}{suffix}"
        with contextlib.suppress(FileExistsError):
            directory.mkdir(parents=True)
            break
    return directory


def end_with_parent() -> None:
    """Have the kernel end this process when the one that started it, by `start`, dies, however it dies."""
    end_with(int(os.environ[_PARENT_VARIABLE]))


def end_with(parent: int) -> None:
    """Have the kernel end this process when its parent dies, however it dies.

    Without it a process would outlive a killed stage, and write beside the next attempt.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the process that started this one is gone")

"""Run something in a process of its own and account for it, and for every process that it starts."""

import ctypes
import os
import pickle
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Run(Generic[T]):
    """What a run gave and what it took.

    Attributes:
        result: of the function.
        processor_seconds: user and system time of the process and all its descendants, from the function's start.
        peak_bytes: the largest resident set of the process itself.
    """

    result: T
    processor_seconds: float
    peak_bytes: int


def run(function: Callable[..., T], *arguments: Any) -> Run[T]:
    """Call a function of a module's top level in a fresh process."""
    # Processes whose parent ends, such as a fork server's, become children of this one, so that their time counts here.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    spared = _children()
    with tempfile.TemporaryDirectory() as directory:
        question, answer = Path(directory, "question"), Path(directory, "answer")
        question.write_bytes(pickle.dumps((function, arguments)))
        before = _children_seconds()
        # Elsewhere and quietly: some libraries leave logs where they are started, and print as they go.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)}
        command = [sys.executable, "-m", __name__, str(question), str(answer)]
        ended = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise RuntimeError(f"{function.__module__}.{function.__name__} failed:\n{ended.stderr}")
        _reap(spared)
        taken = _children_seconds() - before
        result, started_at, peak = pickle.loads(answer.read_bytes())
    return Run(result, taken - started_at, peak)


def _call(question: Path, answer: Path) -> None:
    function, arguments = pickle.loads(question.read_bytes())
    started_at = sum(os.times()[:2])
    result = function(*arguments)
    answer.write_bytes(pickle.dumps((result, started_at, _peak_bytes())))


def _peak_bytes() -> int:
    """Give the largest resident set of this program; ru_maxrss also counts that of the process it was forked from."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _reap(spared: set[int]) -> None:
    """Wait for what the process left behind: its fork server ends when it notices that the process is gone.

    Args:
        spared: children of before, such as a server that the process asks.
    """
    while left := _children() - spared:
        for child in left:
            os.waitpid(child, 0)


def _children() -> set[int]:
    return {int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


if __name__ == "__main__":
    _call(Path(sys.argv[1]), Path(sys.argv[2]))

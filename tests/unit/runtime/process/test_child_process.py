"""Processes beside the stage: their end is told, and they do not outlive it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill_runtime.foundation.errors import Retryable
from distill_runtime.process import child_process

# A parent that starts a child, says its number, and waits to be killed.
PARENT = """
import sys, time
from pathlib import Path
from distill_runtime.process import child_process
Path(sys.argv[1], "sleeper.py").write_text(
    "import time\\nfrom distill_runtime.process.child_process import end_with_parent\\n"
    "end_with_parent()\\nprint('ready')\\ntime.sleep(60)\\n"
)
sys.path.append(sys.argv[1])
child = child_process.start("sleeper", "sleeper", [], {}, Path(sys.argv[1]))
while b"ready" not in child.log.read_bytes():
    time.sleep(0.02)
print(child.process.pid, flush=True)
time.sleep(60)
"""


def test_a_child_that_ends_well(tmp_path: Path) -> None:
    child = child_process.start("version", "platform", [], {}, tmp_path)
    child.wait(60)
    assert child.log == tmp_path / "version.log"
    assert child.log.read_text().strip()


def test_a_child_that_fails_is_quoted(tmp_path: Path) -> None:
    child = child_process.start("parser", "json.tool", ["missing.json"], {}, tmp_path)
    with pytest.raises(Retryable, match=r"parser ended with exit code \d; it said: .*missing\.json") as failed:
        child.wait(60)
    assert failed.value.reason == "ChildFailed"


def test_a_child_that_does_not_end_is_ended(tmp_path: Path) -> None:
    child = child_process.start("server", "http.server", ["0"], {}, tmp_path)
    with pytest.raises(Retryable, match="server was not done after 0 s and was ended; its log is ") as failed:
        child.wait(0.1)
    assert failed.value.reason == "ChildTimedOut"
    assert child.process.returncode == -signal.SIGKILL


def test_the_last_exception_says_more_than_the_last_line(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text("import atexit\natexit.register(print, 'bye')\nraise KeyError('which')\n")
    child = child_process.start("noisy", "noisy", [], {}, tmp_path)
    child.process.wait()
    assert child.describe_end() == "noisy ended with exit code 1; it said: KeyError: 'which'"


def test_a_child_that_is_killed(tmp_path: Path) -> None:
    child = child_process.start("server", "http.server", ["0"], {}, tmp_path)
    child.kill()
    assert "server was killed by SIGKILL, perhaps for lack of memory" in child.describe_end()


def test_a_child_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = Path("/proc") / parent.stdout.readline().strip()
    assert child.exists()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while child.exists() and "\nState:\tZ" not in (child / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_repeated_attempt_keeps_the_logs_of_the_first(tmp_path: Path) -> None:
    first, second = (child_process.make_logs_directory(tmp_path / "run", "attempt-3") for _ in range(2))
    assert first != second
    assert first.name.startswith("attempt-3-")
    assert second.name == f"{first.name}-2"
    assert first.parent == tmp_path / "run.logs"

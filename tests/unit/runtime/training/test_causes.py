"""Why an attempt failed: processes that end as workers do, and what is made of their logs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distill_runtime.foundation.errors import Retryable, WrongInput
from distill_runtime.process.child_log import excerpt
from distill_runtime.process.child_process import ChildProcess
from distill_runtime.training.causes import Cause, find_cause, judge

NOISE = "".join(f"frame {number}\n" for number in range(60))
HCCP = """\
RuntimeError: Ascend collective communication initialization failed.
EJ0001: [PID: 7] 2026-01-02-03:04:06.000.000 Failed to initialize the HCCP process.
        Solution: Wait for 10s after killing the last training process and try again.
"""
LET_DOWN = "EI0006: [PID: 8] 2026-01-02-03:04:05.000.000 Getting socket times out. Reason: rank 1 is silent\n"


def ended(directory: Path, name: str, log: str, code: int = 1, written: float = 1.0) -> ChildProcess:
    """A worker that has written its log and ended so; a negative code is a signal."""
    path = directory / f"{name}.log"
    path.write_text(log)
    os.utime(path, (written, written))
    how = f"os.kill(os.getpid(), {-code})" if code < 0 else f"sys.exit({code})"
    process = subprocess.Popen([sys.executable, "-c", f"import os, sys; {how}"])
    process.wait()
    return ChildProcess(name, process, path)  # type: ignore[arg-type] # it is asked for its exit code only


def cause_of(*children: ChildProcess) -> Cause:
    return find_cause(children, children)


def test_cann_s_words_are_found_wherever_they_are(tmp_path: Path) -> None:
    cause = cause_of(ended(tmp_path, "worker-0", NOISE + HCCP + NOISE))
    assert cause.reason == "DevicesStillHeld"
    assert cause.failure_class == "infrastructure"
    assert cause.message.startswith(
        "worker-0 ended with exit code 1; it said: EJ0001: Failed to initialize the HCCP process. Solution: Wait for "
        "10s after killing the last training process and try again.; a process of an earlier attempt"
    )


def test_the_rank_that_failed_counts_and_not_those_that_it_let_down(tmp_path: Path) -> None:
    """The other one failed earlier, and by CANN's times as well, but of what follows from a failure elsewhere."""
    let_down = ended(tmp_path, "worker-0", LET_DOWN, written=1)
    failing = ended(tmp_path, "worker-1", HCCP, written=2)
    assert cause_of(let_down, failing).message.startswith("worker-1 ")
    assert find_cause([let_down], [let_down, failing]).reason == "DevicesStillHeld"


def test_of_two_the_first_by_cann_s_time_counts(tmp_path: Path) -> None:
    earlier, later = HCCP.replace("03:04:06", "03:04:05"), HCCP
    first = ended(tmp_path, "worker-1", earlier, written=2)
    assert cause_of(ended(tmp_path, "worker-0", later, written=1), first).message.startswith("worker-1 ")


def test_without_cann_s_words_it_is_the_last_exception_of_the_worker_that_ended_first(tmp_path: Path) -> None:
    first = ended(tmp_path, "worker-1", "IndexError: before\nRuntimeError: link 7 is down\n" + NOISE, written=1)
    second = ended(tmp_path, "worker-0", "ConnectionError: worker-1 is gone\n", written=2)
    cause = cause_of(second, first)
    assert cause.message == "worker-1 ended with exit code 1; it said: RuntimeError: link 7 is down"
    assert (cause.reason, cause.failure_class, cause.settled) == ("WorkerFailed", "unknown", False)


def test_a_worker_that_was_killed_is_the_cause_whatever_the_others_say(tmp_path: Path) -> None:
    killed = ended(tmp_path, "worker-1", "step 7\n", code=-signal.SIGKILL, written=9)
    cause = cause_of(ended(tmp_path, "worker-0", HCCP, written=1), killed)
    assert cause.message == "worker-1 was killed by SIGKILL, perhaps for lack of memory; it said: step 7"
    assert cause.failure_class == "infrastructure"


@pytest.mark.parametrize("code", [3, -signal.SIGSEGV])
def test_a_worker_that_says_nothing(tmp_path: Path, code: int) -> None:
    cause = cause_of(ended(tmp_path, "worker-0", "", code=code))
    assert cause.message.endswith("; its log is empty")
    assert cause.failure_class == "unknown"


@pytest.mark.parametrize(
    "log", ["UCEError error occurs when execute, error_code=507054\n", "EJ0002: The port is down.\n"]
)
def test_a_faulty_device_is_infrastructure_s(tmp_path: Path, log: str) -> None:
    cause = cause_of(ended(tmp_path, "worker-0", f"{NOISE}{log}RuntimeError: x\n"))
    assert (cause.reason, cause.failure_class) == ("DeviceFault", "infrastructure")


OUT_OF_MEMORY = [
    "RuntimeError: \nOut of Memory!!! Request memory size: 33100113920B, Memory Statistic:\nDevice HBM 32768M\n",
    "[PID: 1] 2026-04-09-21:56:40.384.694 Memory_Allocation_Failure(EL0004): Failed to allocate memory.\n",
    "MemoryError: x\nMemory not enough: alloc size[7] is more than free\n",
]
WRONG = [
    "Traceback (most recent call last):\nKeyError: \"'expert_paralel' is not a key\"\n",
    "TypeError: load_from_disk() got an unexpected keyword argument 'split'\n",
    "ValueError: context_parallel_algo should be one of ['ulysses_cp'], but got hybird_cp\n",
    "EI0001: Environment variable [HCCL_IF_BASE_PORT] is invalid. Reason: x.\n",
]


@pytest.mark.parametrize(
    ("log", "reason"),
    [*((log, "DeviceOutOfMemory") for log in OUT_OF_MEMORY), *((log, "WrongConfiguration") for log in WRONG)],
)
def test_what_cannot_work_is_final_until_it_has_worked(tmp_path: Path, log: str, reason: str) -> None:
    cause = cause_of(ended(tmp_path, "worker-0", NOISE + log))
    refused, retried = judge(cause, new_step=False, before=None), judge(cause, new_step=True, before=None)
    assert isinstance(refused, WrongInput)
    assert isinstance(retried, Retryable)
    for error in (refused, retried):
        assert (error.reason, error.failure_class) == (reason, "workload")
        assert log.strip().splitlines()[-1].split(":")[-1].strip()[:20] in error.message or "Out of" in error.message


def test_the_same_failure_has_the_same_essence(tmp_path: Path) -> None:
    said = "RuntimeError: task 12 at 0x7fa0 of rank {} failed\n"
    one, other = (cause_of(ended(tmp_path, f"worker-{n}", said.format(n))) for n in (0, 5))
    another = cause_of(ended(tmp_path, "worker-0", "RuntimeError: the link is down\n"))
    assert one.essence == other.essence != another.essence


@pytest.mark.parametrize(
    ("log", "code", "new_step", "before", "reason"),
    [
        ("RuntimeError: task 12 failed\n", 1, False, "RuntimeError: task # failed", "RepeatedFailure"),
        ("RuntimeError: task 12 failed\n", 1, False, "RuntimeError: another", None),
        ("RuntimeError: task 12 failed\n", 1, False, None, None),
        ("RuntimeError: task 12 failed\n", 1, True, "RuntimeError: task # failed", None),
        (LET_DOWN, 1, False, "EI#: Getting socket times out. Reason: rank # is silent", None),  # of the network
        ("", -signal.SIGKILL, False, "-9", None),  # from outside
        ("", -signal.SIGSEGV, False, "-11", "RepeatedFailure"),
        ("TypeError: x\n", 1, False, "TypeError: x", "WrongConfiguration"),  # has a remedy of its own
    ],
)
def test_the_same_failure_twice_before_a_first_step_is_final(
    tmp_path: Path, log: str, code: int, new_step: bool, before: str | None, reason: str | None
) -> None:
    error = judge(cause_of(ended(tmp_path, "worker-0", log, code)), new_step, before)
    assert isinstance(error, WrongInput) == (reason is not None)
    assert error.reason == (reason or "WorkerFailed")
    assert ("the attempt before failed in the same way" in error.message) == (reason == "RepeatedFailure")


def test_of_a_log_of_gigabytes_beginning_and_end_are_read(tmp_path: Path) -> None:
    child = ended(tmp_path, "worker-0", "")
    with child.log.open("r+b") as file:  # a hole: it takes no room
        file.write(b"TypeError: first\n")
        file.seek(3 << 30)
        file.write(b"\nRuntimeError: last\n")
    assert cause_of(child).message.endswith("it said: RuntimeError: last")
    read = excerpt(child.log)
    assert read.startswith("TypeError: first")
    assert len(read) < 4 << 20

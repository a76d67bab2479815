"""CANN's errors, as they are in logs: from issues hiyouga/LlamaFactory 3839, verl-project/verl 332,
PKU-YuanGroup/Helios 62, candle-org/MindAct 1752 and mindspore-lab/mindaudio 164."""

import pytest

from distill_runtime.training.cann_errors import CannError, cann_errors, kind_of

HCCP = """\
RuntimeError: Ascend collective communication initialization failed.

----------------------------------------------------
- Ascend Error Message:
----------------------------------------------------
EJ0001: 2024-05-21-11:57:54.167.645 Failed to initialize the HCCP process. Reason: Maybe the last training process is \
running.
        Solution: Wait for 10s after killing the last training process and try again.
        TraceBack (most recent call last):
        tsd client wait response fail, device response code[1]. unknown device error.[FUNC:WaitRsp][LINE:290]
"""
WITH_PROCESS = """\
(TaskRunner pid=467613) EJ0001: [PID: 468348] 2025-04-24-16:14:56.975.866 Failed to initialize the HCCP process. \
Reason: Maybe the last training process is running.
(TaskRunner pid=467613)         Solution: Wait for 10s after killing the last training process and try again.
"""
TITLED = """\
ERROR 04-09 21:56:46 [engine.py:82] [PID: 210907] 2026-04-09-21:56:40.384.694 Memory_Allocation_Failure(EL0004): \
Failed to allocate memory requested by GE module.
ERROR 04-09 21:56:46 [engine.py:82]         Possible Cause: Available memory is insufficient.
ERROR 04-09 21:56:46 [engine.py:82]         Solution: Close applications not in use.
ERROR 04-09 21:56:46 [engine.py:82]         TraceBack (most recent call last):
"""
INNER = """\
E39999: Inner Error!
E39999: 2024-10-20-22:34:40.965.193  The error from device(chipId:0, dieId:0), serial number is 3, msg:inner error.
        TraceBack (most recent call last):
        Solution: is no advice here
"""
WITHOUT_TIME = """\
E39999: Inner Error!
E39999  Aicpu kernel execute failed, device_id=0, stream_id=12, task_id=2.
EI0004: The ranktable or rank is invalid,Reason:[x]. Please check the configured ranktable. [y]
        Possible Cause: N/A
        Solution: N/A
"""
WAIT = "Wait for 10s after killing the last training process and try again."
RUNNING = "Failed to initialize the HCCP process. Reason: Maybe the last training process is running."


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (HCCP, CannError("EJ0001", RUNNING, WAIT, "2024-05-21-11:57:54.167.645")),
        (WITH_PROCESS, CannError("EJ0001", RUNNING, WAIT, "2025-04-24-16:14:56.975.866")),
        (
            TITLED,
            CannError(
                "EL0004",
                "Failed to allocate memory requested by GE module.",
                "Close applications not in use.",
                "2026-04-09-21:56:40.384.694",
            ),
        ),
        (
            INNER,
            CannError(
                "E39999",
                "The error from device(chipId:0, dieId:0), serial number is 3, msg:inner error.",
                time="2024-10-20-22:34:40.965.193",
            ),
        ),
        (
            WITHOUT_TIME,
            CannError(
                "EI0004", "The ranktable or rank is invalid,Reason:[x]. Please check the configured ranktable. [y]"
            ),
        ),
    ],
)
def test_an_error_is_read_in_every_form_it_has(log: str, expected: CannError) -> None:
    assert list(cann_errors(log)) == [expected]


def test_what_only_looks_like_a_code_is_none() -> None:
    assert not list(cann_errors("see EJ0001 in the manual\nREJ0001: refused\nEJ00012: 3\nloss 1.0E10001\n"))


@pytest.mark.parametrize(
    ("code", "failure_class", "reason", "follows"),
    [
        ("EL0004", "workload", "DeviceOutOfMemory", False),
        ("EI0011", "workload", "DeviceOutOfMemory", False),
        ("EI0001", "workload", "WrongConfiguration", False),
        ("EJ0001", "infrastructure", "DevicesStillHeld", False),
        ("EI0006", "infrastructure", "", True),
        ("EJ0002", "infrastructure", "DeviceFault", False),
        ("E80000", "workload", "", False),  # an operator that cannot be compiled
        ("EZ9999", "unknown", "", False),
        ("E39999", "unknown", "", False),
    ],
)
def test_what_a_code_means(code: str, failure_class: str, reason: str, follows: bool) -> None:
    kind = kind_of(CannError(code, "x"))
    assert (kind.failure_class, kind.reason, kind.follows) == (failure_class, reason, follows)

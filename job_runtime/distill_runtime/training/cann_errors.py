"""What CANN says of a failure: a code, a reason, a solution, somewhere in a worker's log.

CANN's libraries hand what went wrong to MindSpore, which prints it under "Ascend Error Message" before the traceback of
an exception that says little. Its two forms, up to CANN 8.3 and since (issues hiyouga/LlamaFactory 3839 and
PKU-YuanGroup/Helios 62):

    EJ0001: [PID: 468348] 2025-04-24-16:14:56.975.866 Failed to initialize the HCCP process. Reason: Maybe …
            Solution: Wait for 10s after killing the last training process and try again.
            TraceBack (most recent call last):
    [PID: 210907] 2026-04-09-21:56:40.384.694 Memory_Allocation_Failure(EL0004): Failed to allocate memory …
            Possible Cause: Available memory is insufficient.
            Solution: Close applications not in use.

The table below is from the libraries' own texts (hicann/hcomm, error_info_list; its documentation's page on locating
faults, "HCCL相关故障码") and from MindSpore's "CANN Common Error Analysis".
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from distill_runtime.contract import FailureClass

_HEAD: Final = re.compile(
    r"(?:\[PID: ?\d+\] ?)?(?P<early>\d{4}-\d\d-\d\d-[\d:.]+ )?"
    r"(?:\b[A-Z]\w*\((?P<titled>E[0-9A-Z]\d{4})\)|\b(?P<plain>E[0-9A-Z]\d{4})): "
    r"(?:\[PID: ?\d+\] ?)?(?P<late>\d{4}-\d\d-\d\d-[\d:.]+ +)?(?P<text>\S.*)"
)
_ADVICE: Final = re.compile(r"(?:\S.*[\])])?\s+(?P<what>Possible Cause|Solution): (?P<text>.*)")
_TRACE: Final = re.compile(r"(?:\S.*[\])])?\s+TraceBack \(most recent call last\)")
_TITLE_ONLY: Final = "Inner Error"
"""E39999: Inner Error! comes before the line of the same code that says which."""
_ADVICE_LINES: Final = 4
_TEXT_CHARACTERS: Final = 500


@dataclass(frozen=True)
class CannError:
    """An error that CANN reported.

    Attributes:
        code: such as EJ0001.
        text: what went wrong.
        solution: what CANN advises; empty if nothing.
        time: when, as CANN writes it, which sorts by time; empty if it does not say.
    """

    code: str
    text: str
    solution: str = ""
    time: str = ""

    @property
    def sentence(self) -> str:
        """Put it as CANN does."""
        return f"{self.code}: {self.text}" + (f" Solution: {self.solution}" if self.solution else "")


@dataclass(frozen=True)
class Kind:
    """What an error's code says of it.

    Attributes:
        failure_class: whose fault it is.
        follows: whether it usually follows from the failure of another rank, by which it was let down.
        reason: a condition's reason of its own, if what to do is particular.
    """

    failure_class: FailureClass
    follows: bool = False
    reason: str = ""


DEVICE_OUT_OF_MEMORY: Final = "DeviceOutOfMemory"
DEVICES_STILL_HELD: Final = "DevicesStillHeld"
WRONG_CONFIGURATION: Final = "WrongConfiguration"
DEVICE_FAULT: Final = "DeviceFault"
"""Of a device of this node, or its link: the operator avoids the node."""

_LET_DOWN: Final = Kind("infrastructure", follows=True)
_NETWORK: Final = Kind("infrastructure")
_DEVICE: Final = Kind("infrastructure", reason=DEVICE_FAULT)
KINDS: Final[Mapping[str, Kind]] = {
    "EI0001": Kind("workload", reason=WRONG_CONFIGURATION),  # an environment variable is invalid
    "EI0002": _LET_DOWN,  # a collective operation waited longer than HCCL_EXEC_TIMEOUT
    "EI0003": Kind("workload"),  # an argument of a collective operation is invalid
    "EI0004": _NETWORK,  # the rank table is invalid
    "EI0005": Kind("workload"),  # the ranks do different things
    "EI0006": _LET_DOWN,  # a connection was not made within HCCL_CONNECT_TIMEOUT
    "EI0008": _NETWORK,  # the nodes have different versions of HCCL
    "EI0010": _DEVICE,  # the devices of a node do not reach each other
    "EI0011": Kind("workload", reason=DEVICE_OUT_OF_MEMORY),  # no device memory for a queue pair
    "EI0012": _LET_DOWN,  # SDMA: the link, or a peer that has ended
    "EI0013": _LET_DOWN,  # RoCE, error CQE: the link, or a peer that has ended
    "EI0014": _NETWORK,  # the rank table is not that of the devices
    "EI0015": _LET_DOWN,  # not all ranks came to the root within HCCL_CONNECT_TIMEOUT
    "EI0019": _NETWORK,  # a port cannot be bound
    "EJ0001": Kind("infrastructure", reason=DEVICES_STILL_HELD),  # HCCP: the last training process still runs
    "EJ0002": _DEVICE,  # its network port is down
    "EJ0003": _NETWORK,  # a port cannot be bound
    "EJ0004": _DEVICE,  # the device's address is not right
    "EL0004": Kind("workload", reason=DEVICE_OUT_OF_MEMORY),  # memory cannot be allocated
}
_COMPILATION: Final = re.compile(r"E[5-9AB]\d{4}")
"""Operators that cannot be compiled: E5 to E8 refuse their arguments, E9 to EB are the compiler's own."""


def kind_of(error: CannError) -> Kind:
    """Give what is known of an error by its code."""
    unknown = Kind("workload") if _COMPILATION.fullmatch(error.code) else Kind("unknown")
    return KINDS.get(error.code, unknown)


def cann_errors(log: str) -> Iterator[CannError]:
    """Find the errors in a log, in the order in which they are there."""
    lines = log.splitlines()
    for number, line in enumerate(lines):
        match = _HEAD.search(line)
        if match is None or match["text"].startswith(_TITLE_ONLY):
            continue
        yield CannError(
            code=match["titled"] or match["plain"],
            text=match["text"].strip()[:_TEXT_CHARACTERS],
            solution=_solution(lines[number + 1 : number + 1 + _ADVICE_LINES]),
            time=(match["early"] or match["late"] or "").strip(),
        )


def _solution(following: list[str]) -> str:
    """Read CANN's advice from the lines after an error's first."""
    for line in following:
        if _TRACE.match(line):
            break
        advice = _ADVICE.match(line)
        if advice is not None and advice["what"] == "Solution" and advice["text"] != "N/A":
            return advice["text"].strip()[:_TEXT_CHARACTERS]
    return ""

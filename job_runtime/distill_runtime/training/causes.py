"""Why an attempt failed, by what its workers left: in CANN's words if it said anything, else by the last exception.

A failing rank takes the others with it, and they say so at more length than it does. So all of the node's logs are
read, and the first that failed counts: by CANN's own times, in which what only follows from another rank's failure
comes last; or else the worker that ended first.

Logs may have gigabytes. Their beginning and their end are read.
"""

import re
import signal
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from distill_runtime.contract import FailureClass
from distill_runtime.foundation.errors import Retryable, StageError, WrongInput
from distill_runtime.process.child_log import excerpt, last_exception
from distill_runtime.process.child_process import ChildProcess
from distill_runtime.training.cann_errors import (
    DEVICE_FAULT,
    DEVICE_OUT_OF_MEMORY,
    DEVICES_STILL_HELD,
    WRONG_CONFIGURATION,
    CannError,
    cann_errors,
    kind_of,
)

_CONFIGURATION: Final = ("TypeError", "KeyError", "ValueError")
"""What MindFormers and MindSpore raise for a key or a value that they do not take."""
_OUT_OF_MEMORY: Final = re.compile(
    r"^.*(?:Out of Memory!!!|Memory not enough|Malloc device memory failed|device out of memory).*$", re.MULTILINE
)
"""MindSpore's words for it (libmindspore_ascend_res_manager.so, libmindspore_ms_backend.so, 2.7)."""
_DEVICE_FAULT: Final = re.compile(r"^.*\bUCEError(?: error)? occurs when execute.*$", re.MULTILINE)
"""MindSpore's words for device memory with an uncorrectable error (codes 507053 and 507054; the same library)."""
_ESSENCE_CHARACTERS: Final = 500
_VARYING: Final = re.compile(r"0x[0-9a-fA-F]+|\d+")
_ENDED_FROM_OUTSIDE: Final = (-signal.SIGKILL, -signal.SIGTERM)

_REMEDIES: Final = {
    DEVICE_OUT_OF_MEMORY: "a device has too little memory for its part: raise parallelism.tensor, pipeline or context, "
    "have more recomputed (mindformers.recompute_config), or pack shorter sequences",
    WRONG_CONFIGURATION: "a key or value of mindformers, or a variable of the profile's env, is not one that this "
    "version of MindFormers, MindSpore or CANN takes; the attempt's mindformers.yaml is beside the worker's log",
    DEVICE_FAULT: "a device of this node, or its link, is faulty; the next attempts avoid the node if another fits",
    DEVICES_STILL_HELD: "a process of an earlier attempt, or another one, still holds the devices; the next attempt "
    "waits for it",
}


@dataclass(frozen=True)
class Cause:
    """Why an attempt failed.

    Attributes:
        reason: a condition's reason.
        message: what ended and how, what it said, and what to do if that is known.
        failure_class: whose fault it is.
        essence: the same for the same failure, whatever rank, time or address it has.
        settled: whether the same settings cannot work: no attempt in which they did has to be given another chance.
    """

    reason: str
    message: str
    failure_class: FailureClass
    essence: str
    settled: bool = False


def find_cause(ended: Sequence[ChildProcess], children: Sequence[ChildProcess]) -> Cause:
    """Say why workers failed.

    Args:
        ended: those that have, one at least, in the order in which they were seen to.
        children: all of this node.
    """
    first = min(ended, key=_when)
    if first.process.returncode in _ENDED_FROM_OUTSIDE:  # what the others say follows from that
        return Cause("WorkerFailed", first.describe_end(), "infrastructure", f"{first.process.returncode}")
    found = min(_all_cann_errors(children), key=_first_to_fail, default=None)
    if found is not None:
        return _by_cann(*found)
    for child in (first, *(child for child in children if child is not first)):
        if said := _OUT_OF_MEMORY.search(excerpt(child.log)):
            return _cause(DEVICE_OUT_OF_MEMORY, child, said[0], "workload")
        if said := _DEVICE_FAULT.search(excerpt(child.log)):
            return _cause(DEVICE_FAULT, child, said[0], "infrastructure")
    return _by_exception(first)


def stalled(hang: str, logs: Path) -> Cause:
    """Say that workers hung, and were ended for it."""
    message = f"the workers hang, and were ended: {hang}; their Python stacks are at the end of their logs in {logs}"
    return Cause("TrainingStalled", message, "unknown", "stalled")


def judge(cause: Cause, new_step: bool, before: str | None) -> StageError:
    """Say whether another attempt could do better.

    Args:
        new_step: whether this attempt has done a step: then its settings have worked, and may again.
        before: essence of the failure of the attempt before, if that has done no step either.
    """
    message = f"on {socket.gethostname()} {cause.message}"
    # What infrastructure did twice it need not do on other nodes, or later: restarts.max bounds that.
    if not new_step and not cause.settled and cause.essence == before and cause.failure_class != "infrastructure":
        return WrongInput(
            "RepeatedFailure",
            f"{message}; the attempt before failed in the same way, and neither came to a first step",
            cause.failure_class,
        )
    error = WrongInput if cause.settled and not new_step else Retryable
    return error(cause.reason, message, cause.failure_class)


def _when(child: ChildProcess) -> tuple[bool, float]:
    """Order those that were seen to end at one look: a signal comes from outside, and a log ends with its writer."""
    return child.process.returncode not in _ENDED_FROM_OUTSIDE, child.log.stat().st_mtime


def _all_cann_errors(children: Sequence[ChildProcess]) -> Iterator[tuple[ChildProcess, CannError]]:
    for child in children:
        for error in cann_errors(excerpt(child.log)):
            yield child, error


def _first_to_fail(found: tuple[ChildProcess, CannError]) -> tuple[bool, bool, str]:
    _, error = found
    return kind_of(error).follows, not error.time, error.time


def _by_cann(child: ChildProcess, error: CannError) -> Cause:
    kind = kind_of(error)
    return _cause(kind.reason or "WorkerFailed", child, error.sentence, kind.failure_class)


def _by_exception(child: ChildProcess) -> Cause:
    last = last_exception(excerpt(child.log))
    if last is None:
        return Cause("WorkerFailed", child.describe_end(), "unknown", f"{child.process.returncode}")
    if last.name in _CONFIGURATION:
        return _cause(WRONG_CONFIGURATION, child, last.line, "workload")
    return _cause("WorkerFailed", child, last.line, "unknown")


def _cause(reason: str, child: ChildProcess, said: str, failure_class: FailureClass) -> Cause:
    words = said.strip()[:_ESSENCE_CHARACTERS]
    remedy = f"; {_REMEDIES[reason]}" if reason in _REMEDIES else ""
    return Cause(
        reason=reason,
        message=f"{child.name} {child.how_it_ended()}; it said: {words}{remedy}",
        failure_class=failure_class,
        essence=_VARYING.sub("#", words),
        settled=reason in (DEVICE_OUT_OF_MEMORY, WRONG_CONFIGURATION),
    )

"""A worker process: compares one pair after another, and says nothing but what came of each."""

import json
import os
import resource
import socket
import sys
from typing import Final

from distill_runtime.process.child_process import end_with
from distill_runtime.verification.verifier import NoAnswer, Verifier

LONGEST_REPLY: Final = 4096
"""Bytes of a line that a worker answers with."""

_MEMORY_LIMIT: Final = 2 << 30
"""Address space of a worker in bytes; one that compares mathematics takes 0.1 GiB."""
_CAUSE_CHARACTERS: Final = 300


def work(verifier: Verifier, connection: socket.socket, parent: int) -> None:
    """Answer each line `[reference, answer]` with a line `[reason, cause]`, until there is no more.

    Whatever a comparison raises is that answer's alone, and so is what it does to this process: `sys.exit()` too.

    Args:
        verifier: how to compare; prepared.
        connection: to the process that this one was forked from, which is `parent`.
    """
    this_process = os.getpid()
    end_with(parent)
    _confine()
    with connection.makefile("rb") as requests:
        for line in requests:
            reply = json.dumps(_compare(verifier, *json.loads(line))).encode()
            if os.getpid() != this_process:  # the comparison has forked, and this is the copy
                os._exit(0)
            connection.sendall(reply + b"\n")


def _confine() -> None:
    """Leave nothing to be read, nowhere to print, and so much memory."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
        if standard is not None:
            os.dup2(nowhere, standard.fileno())
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT, _MEMORY_LIMIT))


def _compare(verifier: Verifier, reference: str, answer: str) -> tuple[str, str]:
    try:
        return ("correct" if verifier.compare(reference, answer) else "incorrect"), ""
    except NoAnswer:
        return "noAnswer", ""
    except BaseException as error:  # noqa: BLE001 - also SystemExit, which would end the process that judges nothing yet
        return "crashed", _describe(error)


def _describe(error: BaseException) -> str:
    try:
        return repr(error)[:_CAUSE_CHARACTERS]
    except Exception:  # noqa: BLE001 - it is somebody else's class
        return type(error).__name__[:_CAUSE_CHARACTERS]

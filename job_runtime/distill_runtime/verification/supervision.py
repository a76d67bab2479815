"""The edge to the process that verifying happens in: started without credentials, spoken to in lines of JSON.

Some verifiers are a user's own code, and some run what a model wrote. So the process, and all that it forks, gets a few
variables of the environment and no others; what it writes is parsed and never run; and this process, which has the
others, asks the kernel not to show its memory to processes of the same user.
"""

import base64
import ctypes
import json
import os
import pickle
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from distill_runtime.foundation.errors import Retryable, WrongInput
from distill_runtime.verification.lines import Lines, Overlong
from distill_runtime.verification.verifier import REASONS, Reason, Verifier

_PASSED_ON: Final = re.compile(r"PATH|HOME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|LD_\w+|PYTHON\w+|\w+_NUM_THREADS")
"""Variables that a Python program needs to run as this one does, and that hold no secret."""
_PR_SET_DUMPABLE: Final = 4
_START_SECONDS: Final = 300
"""Longest that preparing a verifier may take: some load a model."""
_END_SECONDS: Final = 5
"""Longest that it may take to end its workers."""
_READ_BYTES: Final = 1 << 16
_LONGEST_LINE: Final = 1 << 16

Settled = tuple[int, Reason, str]
"""Number of a pair, from 0, what came of it, and why if that is not clear."""


class Supervision:
    """A supervisor process that is ready to compare.

    Args:
        verifier: how to compare.
        timeout_seconds: longest that one comparison may take.
        workers: most processes that compare at once; none is started before it is needed.

    Raises:
        WrongInput: as `Verifier.prepare`.
        Retryable: VerifierPoolBroken; so do all methods but `close`.
    """

    def __init__(self, verifier: Verifier, timeout_seconds: float, workers: int) -> None:
        hide_memory()
        pickled = base64.b64encode(pickle.dumps(verifier)).decode()
        self._lines = Lines(_LONGEST_LINE)
        self._sent = 0
        self._under_way: set[int] = set()
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "distill_runtime.verification.supervisor"),
                    *(pickled, str(timeout_seconds), str(workers), str(os.getpid())),
                ],
                env=environment_of_verifiers(os.environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for the stage, which ends it
            )
        except OSError as error:
            raise _broken(str(error)) from error
        try:
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise

    def send(self, reference: str, answer: str) -> int:
        """Have a pair compared; give its number."""
        assert self._process.stdin is not None
        data = memoryview(json.dumps([reference, answer]).encode() + b"\n")
        try:
            while data:
                data = data[self._process.stdin.write(data) :]
        except BrokenPipeError as error:
            raise self._ended() from error
        number, self._sent = self._sent, self._sent + 1
        self._under_way.add(number)
        return number

    def settled(self, timeout_seconds: float | None) -> Iterator[Settled]:
        """Give what has been settled since the last call, waiting for something if need be.

        Args:
            timeout_seconds: longest to wait; None for as long as it takes.
        """
        for line in self._read(timeout_seconds):
            match _parsed(line):
                case [int(number), str(reason), str(cause)] if reason in REASONS and number in self._under_way:
                    self._under_way.remove(number)
                    yield number, reason, cause
                case _:
                    raise _broken("it wrote something that is no verdict")

    def close(self) -> None:
        """End it and all its workers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()  # its workers end with it
            self._process.wait()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            for line in self._read(left):
                match _parsed(line):
                    case []:
                        return
                    case [str(reason), str(message)]:
                        raise WrongInput(reason, message)
                    case _:
                        raise _broken("it wrote something that is no answer")
        raise _broken(f"preparing the verifier took more than {_START_SECONDS} s")

    def _read(self, timeout_seconds: float | None) -> Iterator[bytes]:
        assert self._process.stdout is not None
        readable = select.poll()
        readable.register(self._process.stdout, select.POLLIN)
        if not readable.poll(None if timeout_seconds is None else 1000 * timeout_seconds):
            return
        data = os.read(self._process.stdout.fileno(), _READ_BYTES)
        if not data:
            raise self._ended()
        try:
            yield from self._lines.feed(data)
        except Overlong as error:
            raise _broken("it wrote something that is no verdict") from error

    def _ended(self) -> Retryable:
        code = self._process.wait()
        return _broken(f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}; the log says why")


def environment_of_verifiers(environment: Mapping[str, str]) -> dict[str, str]:
    """Give what verifiers may see of an environment."""
    passed_on = {name: value for name, value in environment.items() if _PASSED_ON.fullmatch(name)}
    # It finds modules where this process does.
    return passed_on | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def hide_memory() -> None:
    """Have the kernel show neither this process's environment nor its memory to others of the same user.

    Until it executes another program. Root, and who may trace any process, see them all the same.
    """
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _broken(cause: str) -> Retryable:
    return Retryable(
        "VerifierPoolBroken",
        f"the processes that compare answers cannot be started, or end by themselves ({cause}); "
        "nothing was judged by that. If it happens again, raise the container's memory limit or its limit of processes",
    )

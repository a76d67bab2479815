"""The server beside a stage, as the stage sees it: an address, its output, and a record of its starts and ends.

In a Pod it is a container of its own, which the kubelet starts again whenever it ends. What wraps its command there
(`SCRIPT` of the operator's plan/serving.py) leaves in a directory that both containers share

    log       what it writes to standard output and standard error, of all its starts
    history   a line `started` at each start and, unless it was killed with its wrapper, `ended <exit code>`

A server that ends again and again without an answer in between ends the stage with its last words, so that devices are
not held for what does not come to be. By hand there is no such directory: whoever started it sees it end.
"""

import contextlib
import http.client
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from distill_runtime.contract import EXIT_WRONG_INPUT, InputFingerprint
from distill_runtime.contract.stages import ServerBeside
from distill_runtime.foundation.errors import Retryable, WrongInput
from distill_runtime.process.child_log import last_exception, read_end
from distill_runtime.storage.fingerprints import shortened

logger = logging.getLogger(__name__)

_LOG, _HISTORY = "log", "history"
_POLL_SECONDS: Final = 0.5
_HEALTH_TIMEOUT_SECONDS: Final = 10.0
_ENDS_IN_A_ROW: Final = 3
"""Ends without an answer in between after which it is given up. One may be for want of memory that others had."""
_LAST_LINES: Final = 40
_ESSENCE_CHARACTERS: Final = 500
_SIGNALLED: Final = 128
"""A shell's exit code for a process that a signal ended is this much more than the signal's number."""
_KILLED: Final = _SIGNALLED + 9


class Server:
    """Follows the server.

    Args:
        described: what the contract says of it.
        url: base URL of its API.
        logs: existing directory on the volume in which its output is kept, as `server.log`.
    """

    def __init__(self, described: ServerBeside, url: str, logs: Path) -> None:
        self._described = described
        self._url = url
        self._output = Path(described.output) if described.output is not None else None
        self._kept = logs / "server.log"
        self._copied = 0
        self._answered = 0
        self._forgiven = 0

    def wait_until_ready(self, say: Callable[[str], None]) -> None:
        """Wait until it answers at its health path.

        Args:
            say: is told what it waits for, now and then.

        Raises:
            WrongInput: as `check`.
            Retryable: as `check`; ServerFailed too if it takes too long.
        """
        name, patience = self._described.name, self._described.start_seconds
        gives_up_at = time.monotonic() + patience
        while not self._is_ready():
            say(self.check(0) or f"waiting for the server {name} to load the model")
            if time.monotonic() > gives_up_at:
                raise Retryable("ServerFailed", f"the server {name} was not ready after {patience} s{self._said()}")
            time.sleep(_POLL_SECONDS)

    def check(self, answered: int) -> str:
        """Keep what it has written, and make sure that it is not given up.

        Args:
            answered: how many answers there are by now.

        Returns:
            how it has ended since the last of them, if it has; the kubelet starts it again.

        Raises:
            WrongInput: ModelNotServed, if it ended with the exit code for that.
            Retryable: ServerFailed, if it ended several times without an answer in between.
        """
        self.keep_output()
        ends = self._ends()
        if answered > self._answered:
            self._answered, self._forgiven = answered, len(ends)
        latest = ends[self._forgiven :]
        if EXIT_WRONG_INPUT in latest:
            raise WrongInput("ModelNotServed", self._describe_ends())
        if len(latest) >= _ENDS_IN_A_ROW:
            logger.error("the last lines of the server:\n%s", "\n".join(self._last_lines()))
            raise Retryable("ServerFailed", f"{self._describe_ends()}, {len(latest)} times in a row")
        return self._describe_ends()

    def keep_output(self) -> None:
        """Append to `server.log` what it has written since."""
        if self._output is None:
            return
        with contextlib.suppress(FileNotFoundError), (self._output / _LOG).open("rb") as written:
            written.seek(self._copied)
            with self._kept.open("ab") as kept:
                while part := written.read(1 << 20):
                    self._copied += kept.write(part)

    def _is_ready(self) -> bool:
        address = urlsplit(self._url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_HEALTH_TIMEOUT_SECONDS)
        try:
            connection.request("GET", self._described.health_path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _ends(self) -> list[int]:
        if self._output is None:
            return []
        try:
            return read_ends((self._output / _HISTORY).read_text(encoding="utf-8", errors="replace").splitlines())
        except FileNotFoundError:
            return []

    def _describe_ends(self) -> str:
        """Say how it ended last, if it did since it last answered."""
        ends = self._ends()[self._forgiven :]
        if not ends:
            return ""
        code = ends[-1]
        how = f"was ended by signal {code - _SIGNALLED}" if code > _SIGNALLED else f"ended with exit code {code}"
        if code == _KILLED:
            how += ", perhaps for lack of memory"
        return f"the server {self._described.name} {how}{self._said()}"

    def _said(self) -> str:
        """Give the line of its last exception, else its last line."""
        lines = [line for line in self._last_lines() if line.strip()]
        if not lines:
            return ""
        exception = last_exception("\n".join(lines))
        line = exception.line if exception is not None else lines[-1]
        return f"; it said: {line.strip()[:_ESSENCE_CHARACTERS]}"

    def _last_lines(self) -> list[str]:
        """Give the last lines, without those in which it only notes that it was asked whether it is ready."""
        if self._output is None:
            return []
        try:
            lines = read_end(self._output / _LOG).splitlines()
        except FileNotFoundError:
            return []
        asked = f'"GET {self._described.health_path} '
        return [line for line in lines if asked not in line][-_LAST_LINES:]


def fingerprint_server(described: ServerBeside) -> tuple[InputFingerprint, ...]:
    """Tell which server it is; nothing of one in this stage's own image, whose versions are recorded anyway."""
    if not described.definition:
        return ()
    return (InputFingerprint(name="server", uri=described.name, value=shortened(described.definition)),)


def read_ends(history: Sequence[str]) -> list[int]:
    """Give the exit code of each start that has ended; that of SIGKILL where another start is all that tells it."""
    ends: list[int] = []
    running = False
    for line in history:
        word, _, code = line.partition(" ")
        if word == "started":
            if running:
                ends.append(_KILLED)
            running = True
        elif word == "ended" and running and code.isascii() and code.isdecimal():
            ends.append(int(code))
            running = False
    return ends

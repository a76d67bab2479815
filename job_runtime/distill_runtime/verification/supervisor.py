"""The process that verifying happens in: forks worker processes, hands out what is to be compared, ends what hangs.

It is started with an environment that has no credentials in it (see `supervision`). Its standard input has a line
`[reference, answer]` for each pair. It says that it is ready, and then, in the order in which they are settled, what
came of each: `[number, reason, cause]`. Whatever a worker does costs the pair that it is at, and no other: it may take
too long, die, or write something else. When its standard input ends, it ends.
"""

import base64
import gc
import json
import os
import pickle
import selectors
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.process.child_process import end_with
from distill_runtime.verification.lines import Lines, Overlong
from distill_runtime.verification.verifier import REASONS, Verifier
from distill_runtime.verification.worker import LONGEST_REPLY, work

_READ_BYTES: Final = 1 << 20
_SEND_SECONDS: Final = 10.0
"""Longest that a worker with nothing to do may take to read what it is given."""
_IDLE_DEATHS: Final = 10
"""Workers that may die one after another before they were given anything: more will not live either."""


@dataclass(slots=True)
class _Worker:
    """A worker process.

    Attributes:
        pid: its process, and its process group.
        connection: to it.
        replies: what it has written of its next line.
        number: of the pair that it compares; None while it has nothing to do.
        deadline: when it must be done, by the monotonic clock.
    """

    pid: int
    connection: socket.socket
    replies: Lines = field(default_factory=lambda: Lines(LONGEST_REPLY))
    number: int | None = None
    deadline: float = 0.0


class Supervisor:
    """Supervises workers until there is nothing more to read.

    Args:
        verifier: how to compare; prepared.
        timeout_seconds: longest that one comparison may take.
        workers: processes.
        requests: descriptor to read from.
        replies: descriptor to write to.
    """

    def __init__(self, verifier: Verifier, timeout_seconds: float, workers: int, requests: int, replies: int) -> None:
        self._verifier = verifier
        self._timeout_seconds = timeout_seconds
        self._most = workers
        self._requests = requests
        self._replies = replies
        self._lines = Lines()
        self._read = 0
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._unwritten = bytearray()
        self._workers: dict[int, _Worker] = {}
        self._idle_deaths = 0
        self._open = True
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Serve until the requests end; every worker has ended by then."""
        os.set_blocking(self._replies, False)
        self._selector.register(self._requests, selectors.EVENT_READ, self._take_requests)
        try:
            while self._open:
                for key, _ in self._selector.select(self._patience()):
                    key.data()
                self._end_overdue()
                self._hand_out()
        finally:
            for worker in list(self._workers.values()):
                self._end(worker)

    def _patience(self) -> float | None:
        deadlines = [worker.deadline for worker in self._workers.values() if worker.number is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _take_requests(self) -> None:
        data = os.read(self._requests, _READ_BYTES)
        self._open = bool(data)
        for line in self._lines.feed(data):
            self._waiting.append((self._read, line + b"\n"))
            self._read += 1

    def _hand_out(self) -> None:
        idle = deque(worker for worker in self._workers.values() if worker.number is None)
        while self._waiting and (idle or len(self._workers) < self._most):
            worker = idle.popleft() if idle else self._start()
            worker.number, line = self._waiting.popleft()
            worker.deadline = time.monotonic() + self._timeout_seconds
            try:
                worker.connection.sendall(line)
            except OSError:  # it has died, or does not read
                self._fail(worker, "crashed", "its process was gone")

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers.values()):
            if worker.number is not None and worker.deadline <= now:
                self._fail(worker, "timeout", "")

    def _take_reply(self, worker: _Worker) -> None:
        if worker.pid not in self._workers:  # it was ended since it was found to have written
            return
        try:
            data = worker.connection.recv(_READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._fail(worker, "crashed", "")
            return
        try:
            for line in worker.replies.feed(data):
                reason, cause = _reply(line)
                if worker.number is None:
                    raise ValueError("nothing was asked")
                self._settle(worker, reason, cause)
        except (ValueError, Overlong):
            self._fail(worker, "crashed", "its process wrote something that is no verdict")

    def _settle(self, worker: _Worker, reason: str, cause: str) -> None:
        self._write([worker.number, reason, cause])
        worker.number = None
        self._idle_deaths = 0

    def _fail(self, worker: _Worker, reason: str, cause: str) -> None:
        """End a worker, and with it the comparison that it is at."""
        ended = self._end(worker)
        if worker.number is not None:
            self._settle(worker, reason, cause or ended)
            return
        self._idle_deaths += 1
        if self._idle_deaths > _IDLE_DEATHS:
            sys.exit(f"{self._idle_deaths} processes ended before they compared anything; the last one {ended}")

    def _start(self) -> _Worker:
        ours, theirs = socket.socketpair()
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            self._become_worker(theirs, parent)
        os.setpgid(pid, pid)  # so that what a comparison starts ends with it
        theirs.close()
        ours.settimeout(_SEND_SECONDS)
        worker = self._workers[pid] = _Worker(pid, ours)
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._take_reply(worker))
        return worker

    def _become_worker(self, connection: socket.socket, parent: int) -> NoReturn:
        code = 1
        try:
            self._selector.close()
            os.close(self._replies)
            for worker in self._workers.values():
                worker.connection.close()
            work(self._verifier, connection, parent)
            code = 0
        finally:
            os._exit(code)

    def _end(self, worker: _Worker) -> str:
        """End a worker and whatever it started in its group; say how it ended."""
        del self._workers[worker.pid]
        self._selector.unregister(worker.connection)
        worker.connection.close()
        for end in (os.killpg, os.kill):  # it may have left its group
            with suppress(OSError):
                end(worker.pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
        return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def _write(self, reply: list[Any]) -> None:
        """Write a reply as far as there is room: to wait would be to read nothing, and both sides would wait."""
        if not self._unwritten:
            self._selector.register(self._replies, selectors.EVENT_WRITE, self._write_more)
        self._unwritten += json.dumps(reply).encode() + b"\n"

    def _write_more(self) -> None:
        del self._unwritten[: os.write(self._replies, self._unwritten)]
        if not self._unwritten:
            self._selector.unregister(self._replies)


def _reply(line: bytes) -> tuple[str, str]:
    """Read a worker's reply.

    Raises:
        ValueError: if it is none.
    """
    match json.loads(line):
        case [str(reason), str(cause)] if reason in REASONS:
            return reason, cause
    raise ValueError(line)


def main(verifier: str, timeout_seconds: str, workers: str, parent: str) -> None:
    """Prepare the verifier, say so or why it cannot be, and supervise.

    Args:
        verifier: pickled, in base 64.
        timeout_seconds, workers: numbers, as `Supervisor` takes them.
        parent: process that started this one.
    """
    end_with(int(parent))
    # What a verifier prints must not get between the replies.
    replies = os.dup(sys.stdout.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    prepared: Verifier = pickle.loads(base64.b64decode(verifier))  # noqa: S301 - its parent has written it
    try:
        prepared.prepare()
    except WrongInput as refusal:
        os.write(replies, json.dumps([refusal.reason, refusal.message]).encode() + b"\n")
        return
    # Garbage collection in a worker would otherwise write to each object that is there by now, and so copy every page
    # that it shares with this process.
    gc.freeze()
    os.write(replies, b"[]\n")
    Supervisor(prepared, float(timeout_seconds), int(workers), sys.stdin.fileno(), replies).run()


if __name__ == "__main__":
    main(*sys.argv[1:])

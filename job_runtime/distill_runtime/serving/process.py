"""The server as the eval stage sees it: a process with an address."""

import contextlib
import http.client
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from distill_runtime.contract import EXIT_WRONG_INPUT
from distill_runtime.contract.stages import DeviceTarget
from distill_runtime.foundation.errors import Retryable, WrongInput
from distill_runtime.process.child_process import ChildProcess, start

logger = logging.getLogger(__name__)

_MODULE: Final = "distill_runtime.serving.server"
_POLL_SECONDS: Final = 0.2


class ServerProcess:
    """A server that was started.

    Attributes:
        url: base URL of its API.
        model: name that it serves under.
    """

    def __init__(self, child: ChildProcess, address: tuple[str, int], model: str) -> None:
        self._child = child
        self._address = address
        self.url = f"http://{address[0]}:{address[1]}/v1"
        self.model = model

    def check(self) -> None:
        """Make sure that it still runs.

        Raises:
            WrongInput: ModelNotServed, if it found its model wrong.
            Retryable: ServerFailed, with what it said last.
        """
        code = self._child.process.poll()
        if code is None:
            return
        logger.error("the last lines of %s:\n%s", self._child.log, "\n".join(self._child.last_lines()))
        if code == EXIT_WRONG_INPUT:
            raise WrongInput("ModelNotServed", self._child.last_lines()[-1])
        raise Retryable("ServerFailed", self._child.describe_end())

    def wait_until_ready(self) -> None:
        """Wait until it answers; loading and compiling take as long as they take.

        Raises:
            WrongInput: as `check`.
            Retryable: as `check`.
        """
        while not self._is_ready():
            self.check()
            time.sleep(_POLL_SECONDS)

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(*self._address, timeout=_POLL_SECONDS)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()


@contextlib.contextmanager
def serve(model: Path, name: str, device_target: DeviceTarget, batch_size: int, logs: Path) -> Iterator[ServerProcess]:
    """Serve a model directory while in the context; on leaving, the process has ended.

    Args:
        name: to serve it under.
        batch_size: rows that the server computes at once.
        logs: an existing directory for its log.
    """
    # Bound here and handed down, so that the port is known without asking and nobody can take it in between.
    with socket.socket() as listen:
        listen.bind(("127.0.0.1", 0))
        address: tuple[str, int] = listen.getsockname()
        arguments = [
            f"--model={model}",
            f"--name={name}",
            f"--device-target={device_target}",
            f"--batch-size={batch_size}",
            f"--listen={listen.fileno()}",
        ]
        environment = {
            "LOCAL_DEFAULT_PATH": str(logs),  # where MindFormers keeps its logs
            "HF_HUB_OFFLINE": "1",  # the model is in its directory: nothing may try the hub and wait for its time-out
        }
        child = start("server", _MODULE, arguments, environment, logs, files=[listen.fileno()])
    try:
        yield ServerProcess(child, address, name)
    finally:
        child.kill()

"""Starts the workers of this node, waits for them, and ends them all when it must.

It does msrun's job, on every device target, by the environment that MindSpore documents for starting processes by
hand (dynamic cluster startup). msrun itself is not fit for a Pod (measured): it resolves the scheduler's name once and
fails if DNS does not have it yet; SIGTERM does not reach its workers, so a Pod uses its whole grace period; it returns
its own exit code rather than the worker's; and a new attempt overwrites the logs of the one before.
"""

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from distill_runtime.contract import Rendezvous
from distill_runtime.errors import Retryable, WrongInput
from distill_runtime.training.assignment import Failure, failure_file
from distill_runtime.training.worker import LAUNCHER_VARIABLE

logger = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.2
_NAME_SECONDS: Final = 300
"""How long the first Pod's name may take to appear in DNS."""
_FIRST_LOOKUP_SECONDS: Final = 2
"""A name that is asked for before it exists is remembered as absent for seconds: better not to ask too early."""
_CLUSTER_SECONDS: Final = 600
"""How long the workers wait for each other to start."""
_SCHEDULER_SECONDS: Final = 60
"""How long the scheduler may take to end after the last worker; measured: 5 s."""
_LAST_LINES: Final = 40
_EXCEPTION: Final = re.compile(r"[A-Za-z_.]*(Error|Exception)\b")
_ESSENCE_CHARACTERS: Final = 500


@dataclass(frozen=True)
class Node:
    """This Pod's part of the attempt.

    Attributes:
        index: which node it is, from 0; the first runs the scheduler.
        nodes: Pods of the attempt.
        workers: worker processes on each node.
        rendezvous: where the first node's scheduler listens; None with a single node.
    """

    index: int
    nodes: int
    workers: int
    rendezvous: Rendezvous | None

    @property
    def all_workers(self) -> int:
        """Worker processes of the attempt."""
        return self.nodes * self.workers


def run_workers(node: Node, assignment: Path, logs: Path, tick: Callable[[], None]) -> None:
    """Run this node's workers to their end.

    Args:
        assignment: the file that tells them what to do.
        logs: an existing directory of this attempt and node alone, for their output and what they leave.
        tick: called a few times a second.

    Raises:
        WrongInput: with what a worker found wrong.
        Retryable: WorkerFailed or RendezvousFailed, with the last lines of the log.
    """
    environment = {
        **os.environ,
        LAUNCHER_VARIABLE: str(os.getpid()),
        "LOCAL_DEFAULT_PATH": str(logs),  # where MindFormers keeps its logs
        # MindSpore writes into its working directory, which is that of the logs; modules are found from there too.
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONUNBUFFERED": "1",
    }
    worker_command = [sys.executable, "-m", "distill_runtime.training.worker", str(assignment)]
    children: list[_Child] = []
    try:
        if node.all_workers == 1:
            children.append(_start("worker-0", worker_command, environment, logs))
        else:
            environment |= _cluster_environment(node)
            if node.index == 0:
                command = [sys.executable, "-m", "distill_runtime.training.scheduler"]
                children.append(_start("scheduler", command, {**environment, "MS_ROLE": "MS_SCHED"}, logs))
            for device in range(node.workers):
                rank = node.index * node.workers + device
                role = {
                    "MS_ROLE": "MS_WORKER",
                    "MS_NODE_ID": str(rank),
                    "RANK_ID": str(rank),
                    "DEVICE_ID": str(device),
                }
                children.append(_start(f"worker-{rank}", worker_command, {**environment, **role}, logs))
        _wait(children, logs, tick)
    finally:
        # Nothing that a worker still does is of use: checkpoints are whole or not there. So it is killed at once.
        for child in children:
            child.process.kill()
        for child in children:
            child.process.wait()


@dataclass(frozen=True)
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


def _start(name: str, command: list[str], environment: dict[str, str], logs: Path) -> _Child:
    log = logs / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, cwd=logs, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    return _Child(name, process, log)


def _wait(children: list[_Child], logs: Path, tick: Callable[[], None]) -> None:
    """Wait until all have ended well, or one has not."""
    running = list(children)
    scheduler_end: float | None = None
    while running:
        time.sleep(_POLL_SECONDS)
        tick()
        for child in list(running):
            code = child.process.poll()
            if code is None:
                continue
            running.remove(child)
            if code != 0:
                _raise_failure(child, code, logs)
        if [child.name for child in running] == ["scheduler"]:
            now = time.monotonic()
            scheduler_end = scheduler_end or now + _SCHEDULER_SECONDS
            if now > scheduler_end:
                logger.warning("the scheduler is still there %s s after the last worker; ending it", _SCHEDULER_SECONDS)
                return
    tick()


def _raise_failure(child: _Child, code: int, logs: Path) -> None:
    """Say why a child ended, in its own words if it left any."""
    for path in sorted(logs.glob(failure_file(logs, 0).name.replace("0", "*"))):
        failure = Failure.model_validate_json(path.read_bytes())
        raise WrongInput(failure.reason, failure.message)
    lines = child.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    logger.error("the last lines of %s:\n%s", child.log, "\n".join(lines))
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    if code == -signal.SIGKILL:
        how += ", perhaps for lack of memory"
    raise Retryable("WorkerFailed", f"{child.name} on {socket.gethostname()} {how}; {_essence(lines)}")


def _essence(lines: list[str]) -> str:
    """Pick the line that says what happened: the last exception's, else the last."""
    exceptions = [line for line in lines if _EXCEPTION.match(line)]
    said = [line for line in lines if line.strip()]
    if not said:
        return "its log is empty"
    return f"it said: {(exceptions or said)[-1].strip()[:_ESSENCE_CHARACTERS]}"


def _cluster_environment(node: Node) -> dict[str, str]:
    """Give what MindSpore's processes need to find each other."""
    if node.rendezvous is None:
        address, port = "127.0.0.1", _free_port()
    else:
        address, port = _resolve(node, node.rendezvous.host), node.rendezvous.port
    logger.info(
        "node %s of %s: %s workers in all, scheduler %s:%s", node.index, node.nodes, node.all_workers, address, port
    )
    return {
        "MS_WORKER_NUM": str(node.all_workers),
        "MS_SCHED_HOST": address,
        "MS_SCHED_PORT": str(port),
        "MS_TOPO_TIMEOUT": str(_CLUSTER_SECONDS),
        "MS_NODE_RANK": str(node.index),
        "RANK_SIZE": str(node.all_workers),
    }


def _resolve(node: Node, host: str) -> str:
    """Wait for the first node's name and give its address.

    Raises:
        Retryable: RendezvousFailed.
    """
    if _is_address(host):
        return host
    own_name = socket.gethostname()
    if node.index == 0 and host.partition(".")[0] == own_name.partition(".")[0]:
        host = own_name  # /etc/hosts has it at once, DNS only when the Pod is known to run
    elif node.index > 0:
        time.sleep(_FIRST_LOOKUP_SECONDS)
    deadline = time.monotonic() + _NAME_SECONDS
    while True:
        try:
            return socket.gethostbyname(host)
        except OSError as error:
            if time.monotonic() > deadline:
                raise Retryable(
                    "RendezvousFailed",
                    f"no address for {host}, the first Pod of this attempt, after {_NAME_SECONDS} s: {error}; see "
                    "whether that Pod runs, and whether its headless Service publishes addresses that are not ready",
                ) from error
        time.sleep(_POLL_SECONDS)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

"""Starts the workers of this node, waits for them, and ends them all when it must.

It does msrun's job, on every device target, by the environment that MindSpore documents for starting processes by
hand (dynamic cluster startup). msrun itself is not fit for a Pod (measured): it resolves the scheduler's name once and
fails if DNS does not have it yet; SIGTERM does not reach its workers, so a Pod uses its whole grace period; it returns
its own exit code rather than the worker's; and a new attempt overwrites the logs of the one before.
"""

import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from distill_runtime.contract import Rendezvous
from distill_runtime.foundation.errors import Retryable, Terminated, WrongInput
from distill_runtime.process.child_process import ChildProcess, start
from distill_runtime.training.assignment import STACKS_SIGNAL, Failure, failure_file
from distill_runtime.training.causes import Cause, find_cause, stalled

logger = logging.getLogger(__name__)

_WORKER: Final = "distill_runtime.training.worker"
_SCHEDULER: Final = "distill_runtime.training.scheduler"
_POLL_SECONDS: Final = 0.2
_NAME_SECONDS: Final = 300
"""How long the first Pod's name may take to appear in DNS."""
_FIRST_LOOKUP_SECONDS: Final = 2
"""A name that is asked for before it exists is remembered as absent for seconds: better not to ask too early."""
_STACKS_SECONDS: Final = 5
"""How long the workers may take to write their stacks."""
_CLUSTER_SECONDS: Final = 600
"""How long the workers wait for each other to start."""
_SCHEDULER_SECONDS: Final = 600
"""How long the scheduler may outlive this node's workers. It ends 5 s after the last worker of any node (measured);
others may take longer to save the last checkpoint."""


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


def run_workers(
    node: Node, assignment: Path, logs: Path, tick: Callable[[], str | None], stop: Callable[[], bool]
) -> Cause | None:
    """Run this node's workers to their end.

    Args:
        assignment: the file that tells them what to do.
        logs: an existing directory of this attempt and node alone, for their output and what they leave.
        tick: called a few times a second; says why the workers hang, if they do.
        stop: called a few times a second once this stage is told to end; asks the workers to save and to end, and tells
            whether to wait for them.

    Returns:
        Why they failed, or that they hung; None when all have ended well.

    Raises:
        WrongInput: with what a worker found wrong.
        Retryable: RendezvousFailed; Superseded.
    """
    environment = {"LOCAL_DEFAULT_PATH": str(logs)}  # where MindFormers keeps its logs
    children: list[ChildProcess] = []
    try:
        if node.all_workers == 1:
            children.append(start("worker-0", _WORKER, [str(assignment)], environment, logs))
        else:
            environment |= _cluster_environment(node)
            if node.index == 0:
                role = {"MS_ROLE": "MS_SCHED"}
                children.append(start("scheduler", _SCHEDULER, [], environment | role, logs))
            for device in range(node.workers):
                rank = node.index * node.workers + device
                role = {
                    "MS_ROLE": "MS_WORKER",
                    "MS_NODE_ID": str(rank),
                    "RANK_ID": str(rank),
                    "DEVICE_ID": str(device),
                }
                children.append(start(f"worker-{rank}", _WORKER, [str(assignment)], environment | role, logs))
        return _wait(children, logs, tick)
    except Terminated:
        _let_end(children, stop)
        raise
    finally:
        # Nothing that a worker still does is of use: checkpoints are whole or not there. So it is killed at once.
        for child in children:
            child.kill()


def _wait(children: list[ChildProcess], logs: Path, tick: Callable[[], str | None]) -> Cause | None:
    """Wait until all have ended well, or one has not."""
    running = list(children)
    scheduler_end: float | None = None
    while running:
        time.sleep(_POLL_SECONDS)
        hang = tick()
        ended = [child for child in running if child.process.poll() is not None]
        running = [child for child in running if child not in ended]
        if failed := [child for child in ended if child.process.returncode != 0]:
            return _explain(failed, children, logs)
        if hang is not None:
            _have_stacks_written(running)
            return stalled(hang, logs)
        if [child.name for child in running] == ["scheduler"]:
            now = time.monotonic()
            scheduler_end = scheduler_end or now + _SCHEDULER_SECONDS
            if now > scheduler_end:
                logger.warning("ending the scheduler, which outlives this node's workers by %s s", _SCHEDULER_SECONDS)
                break
    tick()
    return None


def _let_end(children: list[ChildProcess], stop: Callable[[], bool]) -> None:
    """Give the workers time to end by themselves, unless one has failed, without which the others cannot go on."""
    workers = [child for child in children if child.name != "scheduler"]
    while stop():
        codes = [worker.process.poll() for worker in workers]
        if None not in codes or any(codes):
            return
        time.sleep(_POLL_SECONDS)


def _have_stacks_written(running: list[ChildProcess]) -> None:
    """Have each worker write its Python stacks to its log; one that is stopped, or hangs in the kernel, cannot."""
    able = (child for child in running if child.name != "scheduler" and not child.is_stopped())
    workers = {child: child.log.stat().st_size for child in able}
    for worker in workers:
        worker.process.send_signal(STACKS_SIGNAL)
    deadline = time.monotonic() + _STACKS_SECONDS
    while time.monotonic() < deadline and any(worker.log.stat().st_size == size for worker, size in workers.items()):
        time.sleep(_POLL_SECONDS)
    time.sleep(_POLL_SECONDS)  # they write line by line


def _explain(failed: list[ChildProcess], children: list[ChildProcess], logs: Path) -> Cause:
    """Say why workers ended, in their own words if they left any.

    Raises:
        WrongInput: with what one of them found wrong.
        Retryable: Superseded.
    """
    for path in sorted(logs.glob(failure_file(logs, 0).name.replace("0", "*"))):
        failure = Failure.model_validate_json(path.read_bytes())
        if not failure.final:
            raise Retryable(failure.reason, failure.message, "infrastructure")
        raise WrongInput(failure.reason, failure.message)
    for child in failed:
        logger.error("the last lines of %s:\n%s", child.log, "\n".join(child.last_lines()))
    return find_cause(failed, children)


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

"""Faults at random moments of trainings over two nodes of the local cluster: `python -m tests.e2e.faults [--help]`.

Each run suffers one. It has to complete with the weights of a run that nothing happened to, having lost no more than
the steps between two checkpoints, and none where its Pods were told to end. That takes minutes a fault and, since a
stopped node stops whatever else runs there, a cluster of its own: it is no test of `make test`.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.e2e.conftest import VALUES
from tests.e2e.recovery import RunFiles, Watch
from tests.e2e.workspace import Manifest, Workspace, open_workspace
from tests.harness.kubectl import eventually
from tests.harness.sharing import share_installation

STEPS, EVERY_STEPS = 80, 10
SECONDS, DEAD_NODE_SECONDS = 60, 180
"""Within which the next attempt has to train."""
EARLIEST_STEP = 22
"""From then on a worker that stops is noticed after 30 s: the time of a step is known."""
LATEST_STEP = 50
LONGEST_SECONDS = 600
WORKER = "distill_runtime.training.worker"


@dataclass(frozen=True)
class Fault:
    """What happens to one Pod, for how long, and what it may cost."""

    strike: Callable[[Workspace, Manifest], Iterator[None]]
    seconds: int = SECONDS
    lost_steps: int = EVERY_STEPS


def processes_of(pod: Manifest, module: str) -> list[int]:
    """Give the processes of a Pod that run a module of the job runtime, by this machine's numbers."""
    uid = pod["metadata"]["uid"]
    found = []
    for path in Path("/proc").iterdir():
        if not path.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0")
            groups = (path / "cgroup").read_text()
            if module.encode() in words and (uid in groups or uid.replace("-", "_") in groups):
                found.append(int(path.name))
    return found


def signalled(module: str, sent: signal.Signals) -> Callable[[Workspace, Manifest], Iterator[None]]:
    """Send a signal to one process of the Pod, which stays as it is then."""

    def strike(_: Workspace, pod: Manifest) -> Iterator[None]:
        os.kill(processes_of(pod, module)[0], sent)
        yield

    return strike


def deleted(workspace: Workspace, pod: Manifest) -> Iterator[None]:
    """Delete the Pod with its grace period."""
    workspace.kubectl("delete", "pod", pod["metadata"]["name"], "-n", workspace.namespace, "--wait=false")
    yield


def killed(workspace: Workspace, pod: Manifest) -> Iterator[None]:
    """Delete the Pod without one."""
    names = (pod["metadata"]["name"], "-n", workspace.namespace)
    workspace.kubectl("delete", "pod", *names, "--grace-period=1", "--wait=false")
    yield


def drained(workspace: Workspace, pod: Manifest) -> Iterator[None]:
    """Evict the Pod, as `kubectl drain` does."""
    name, namespace = pod["metadata"]["name"], workspace.namespace
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    workspace.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    yield


def silenced(_: Workspace, pod: Manifest) -> Iterator[None]:
    """Stop the kubelet of the Pod's node and the Pod's processes; both come back when the next attempt has begun."""
    name = f"--hostname-override={pod['spec']['nodeName']}".encode()
    lines = {path.parent.name: path.read_bytes().split(b"\0") for path in Path("/proc").glob("[0-9]*/cmdline")}
    kubelet = next(int(number) for number, words in lines.items() if words[0] == b"kubelet" and name in words)
    stopped = [kubelet, *processes_of(pod, "msrun"), *processes_of(pod, WORKER)]
    for process in stopped:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in stopped:
            with contextlib.suppress(ProcessLookupError):  # the stage ends its workers, once it is back
                os.kill(process, signal.SIGCONT)


FAULTS: Mapping[str, Fault] = {
    "stopped node": Fault(silenced, seconds=DEAD_NODE_SECONDS),
    "kill -9 of a worker": Fault(signalled(WORKER, signal.SIGKILL)),
    "kill -9 of a launcher": Fault(signalled("msrun", signal.SIGKILL)),
    "kill of a Pod": Fault(killed),
    "delete of a Pod": Fault(deleted, lost_steps=0),
    "drain": Fault(drained, lost_steps=0),
    "SIGSTOP of a worker": Fault(signalled(WORKER, signal.SIGSTOP)),
}


def train(workspace: Workspace, name: str) -> None:
    """File a run over both nodes."""
    training = {"maxSteps": STEPS, "epochs": 1000, "batchSize": 1}
    checkpoint = {"everySteps": EVERY_STEPS}
    workspace.apply(
        workspace.finetune(
            name, accelerator={"nodes": 2}, training=training, checkpoint=checkpoint, restarts={"max": 3}
        )
    )


def weights(workspace: Workspace, name: str) -> str:
    """Give the digest of a run's weights, once it is Ready."""
    uri = workspace.wait_for("finetunerun", name, seconds=LONGEST_SECONDS)["status"]["artifact"]["uri"]
    files = json.loads(workspace.read(f"{uri}/manifest.json"))["files"]
    return next(str(file["sha256"]) for file in files if file["path"] == "model.safetensors")


def suffer(workspace: Workspace, name: str, what: str, step: int) -> dict[str, Any]:
    """Have a run suffer a fault at a step, and say what came of it."""
    fault = FAULTS[what]
    train(workspace, name)
    run = RunFiles(workspace, name)
    eventually(lambda: run.step() >= step, f"step {step}", LONGEST_SECONDS)  # a status is seconds behind
    selector = f"npu-distill.io/stage=train,npu-distill.io/name={name}"
    pod = random.choice(workspace.kubectl.list("pods", workspace.namespace, selector))
    watch = Watch(workspace, run, attempt=1)
    struck = fault.strike(workspace, pod)
    next(struck)
    try:
        eventually(watch.next_attempt, "the next attempt", LONGEST_SECONDS)
    finally:
        next(struck, None)  # of two nodes the run needs both: it trains once the lost one is back
    recovery = eventually(watch.trains, "it trains", LONGEST_SECONDS)
    digest = weights(workspace, name)
    return {
        "fault": what,
        "step": step,
        "pod": pod["metadata"]["name"],
        **asdict(recovery),
        "inTime": recovery.seconds <= fault.seconds,
        "lostSteps": (lost := workspace.status("finetunerun", name)["lostSteps"]),
        "lostFew": lost <= fault.lost_steps,
        "weights": digest,
        "attempts": workspace.stage("finetunerun", "train", name)["attempts"],
    }


def main() -> int:
    """Run them one after another; what came of each is a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the faults and their moments")
    parser.add_argument("--faults", type=int, default=20, help="how many")
    parser.add_argument("--only", nargs="+", choices=sorted(FAULTS), default=list(FAULTS), help="these, in turn")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    failures = 0
    with (
        share_installation(VALUES, lambda line: print(line, file=sys.stderr)) as installation,
        open_workspace(installation, "faults") as workspace,
    ):
        workspace.shrink_student()
        workspace.teacher()
        workspace.apply(workspace.dataset())
        workspace.wait_for("distilldataset")
        train(workspace, "calm")
        undisturbed = weights(workspace, "calm")
        for number in range(arguments.faults):
            step = random.randrange(EARLIEST_STEP, LATEST_STEP)
            found = suffer(workspace, f"fault-{number}", arguments.only[number % len(arguments.only)], step)
            found["equal"] = found.pop("weights") == undisturbed
            failures += not (found["equal"] and found["inTime"] and found["lostFew"])
            print(json.dumps(found), flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

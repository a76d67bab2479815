"""Where the seconds go between a fault and the next attempt's first step, part by part.

Kubernetes writes whole seconds, so a part may be a second off; the sum is not.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.e2e.workspace import Manifest, Workspace

PARTS = {
    "noticed": "until the first Pod of the attempt ends, or is told to",
    "ended": "until its Job has failed, or is deleted",
    "paused": "until the next attempt's Job is created",
    "placed": "until each of its Pods has a node",
    "started": "until each of their containers runs",
    "begun": "until the stage has read its inputs and found the last checkpoint",
    "trained": "until the workers have loaded, joined, compiled, and done a step",
}


@dataclass(frozen=True)
class Recovery:
    """What followed a fault.

    Attributes:
        seconds: from the fault to the next attempt's first step.
        parts: the same, by the names of `PARTS`; 0 for what was over before the part before it.
        busy_cores: how many of the machine's cores were at work meanwhile, on whatever.
    """

    seconds: float
    parts: Mapping[str, float]
    busy_cores: float


class RunFiles:
    """What a run has on the claim, which is a directory of this machine."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        self.name = name
        self._directory = _claim(workspace) / "npu-distill" / workspace.namespace / name

    def step(self) -> int:
        """Give the last step that the training log has, 0 while there is none."""
        step: int = _last_line(self._file("training-log.jsonl")).get("step", 0)
        return step

    def stepped_at(self) -> datetime:
        """Give when that was written."""
        return datetime.fromtimestamp(self._file("training-log.jsonl").stat().st_mtime, UTC)

    def attempt(self) -> dict[str, Any]:
        """Give the latest attempt's line; empty while there is none."""
        return _last_line(self._file("attempts.jsonl"))

    def _file(self, name: str) -> Path:
        return next((path / name for path in self._directory.glob("train-*.partial")), Path("/nowhere"))


class Watch:
    """Follows a run over two attempts from the moment of a fault on."""

    def __init__(self, workspace: Workspace, run: RunFiles, attempt: int) -> None:
        self._workspace = workspace
        self._run = run
        self._selector = f"npu-distill.io/stage=train,npu-distill.io/name={run.name}"
        self._attempt = attempt
        self._idle = _idle_seconds()
        self._struck = datetime.now(UTC)
        self._marks: dict[str, datetime] = {}

    def next_attempt(self) -> bool:
        """Look, and tell whether the next attempt has been created."""
        self._look()
        return "paused" in self._marks

    def trains(self) -> Recovery | None:
        """Look, and give where the time went once the next attempt has done a step."""
        self._look()
        trained = self._marks.get("trained")
        if trained is None:
            return None
        moments = [self._struck]
        for part in PARTS:
            moments.append(max(moments[-1], min(self._marks.get(part, trained), trained)))
        seconds = (trained - self._struck).total_seconds()
        parts = {
            part: round((after - before).total_seconds(), 1)
            for part, (before, after) in zip(PARTS, pairwise(moments), strict=True)
        }
        elapsed = (datetime.now(UTC) - self._struck).total_seconds()
        busy = (os.cpu_count() or 1) - (_idle_seconds() - self._idle) / elapsed
        return Recovery(seconds=round(seconds, 1), parts=parts, busy_cores=round(busy, 1))

    def _look(self) -> None:
        kubectl, namespace = self._workspace.kubectl, self._workspace.namespace
        jobs = kubectl.list("jobs", namespace, self._selector)
        pods = kubectl.list("pods", namespace, self._selector)  # those that are told to end are gone soon
        for job in jobs:
            if _attempt_of(job) == self._attempt:
                self._first("noticed", [*_conditions(job, "FailureTarget"), *_deleted(job)])
                self._first("ended", [*_conditions(job, "Failed"), *_deleted(job)])
            else:
                self._first("paused", [_time(job["metadata"]["creationTimestamp"])])
        for pod in pods:
            if _attempt_of(pod) == self._attempt:
                self._first("noticed", [*_containers(pod, "terminated", "finishedAt"), *_deleted(pod)])
        following = [pod for pod in pods if _attempt_of(pod) > self._attempt]
        self._last("placed", [list(_conditions(pod, "PodScheduled")) for pod in following])
        self._last("started", [list(_containers(pod, "running", "startedAt")) for pod in following])
        attempt = self._run.attempt()
        if attempt.get("attempt", 0) > self._attempt:
            self._first("begun", [_time(attempt["beganAt"])])
            if self._run.step() > attempt["resumedFromStep"]:
                self._first("trained", [self._run.stepped_at()])

    def _first(self, part: str, times: list[datetime]) -> None:
        known = [*times, *([self._marks[part]] if part in self._marks else [])]
        if known:
            self._marks[part] = min(known)

    def _last(self, part: str, of_pods: list[list[datetime]]) -> None:
        if part not in self._marks and of_pods and all(of_pods):
            self._marks[part] = max(time for times in of_pods for time in times)


def _claim(workspace: Workspace) -> Path:
    """Give the directory of this machine that the local cluster's claim is."""
    volumes = workspace.kubectl.list("pv", workspace.namespace)
    volume = next(one for one in volumes if one["spec"]["claimRef"]["namespace"] == workspace.namespace)
    return Path(volume["spec"]["hostPath"]["path"])


def _attempt_of(child: Manifest) -> int:
    return int(child["metadata"]["labels"]["npu-distill.io/attempt"])


def _conditions(child: Manifest, name: str) -> Iterator[datetime]:
    for condition in child["status"].get("conditions", []):
        if (condition["type"], condition["status"]) == (name, "True"):
            yield _time(condition["lastTransitionTime"])


def _containers(pod: Manifest, state: str, moment: str) -> Iterator[datetime]:
    for container in pod["status"].get("containerStatuses", []):
        if state in container["state"]:
            yield _time(container["state"][state][moment])


def _deleted(child: Manifest) -> Iterator[datetime]:
    """Give when an object was told to go: its deletionTimestamp has the grace period in it."""
    metadata = child["metadata"]
    if "deletionTimestamp" in metadata:
        yield _time(metadata["deletionTimestamp"]) - timedelta(seconds=metadata.get("deletionGracePeriodSeconds", 0))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _last_line(path: Path) -> dict[str, Any]:
    """Read the last whole line of a file of JSON lines; empty if there is none."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return {}
    last: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return last


def _idle_seconds() -> float:
    """Give for how long the machine's cores have been idle, together (proc(5): idle and iowait of /proc/stat)."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return (int(words[4]) + int(words[5])) / os.sysconf("SC_CLK_TCK")

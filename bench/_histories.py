"""Objects with a history: one that the operator has brought there, and as many like it as wanted.

No status is made up. The operator works on one object while this plays the Job controller and the kubelet; what it has
written then, and the Jobs and Pods that belong to it, are copied under other names and uids.
"""

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bench._api_client import ApiClient, Manifest, at_once, until
from bench._control_plane import NAMESPACE
from distill_runtime.contract import ArtifactReference, Result

CLIENTS = 16
SECONDS = 120.0
AT = "2026-01-02T03:04:05Z"
_DIGEST = f"sha256:{'d' * 64}"
_OF_ONE_OBJECT = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "namespace")
_OF_ONE_JOB = ("controller-uid", "batch.kubernetes.io/controller-uid")
"""Labels that the API server gives the Pods of each Job, by its uid."""


@dataclass(frozen=True)
class History:
    """An object with its Jobs and their Pods, and their statuses."""

    dataset: Manifest
    jobs: tuple[Manifest, ...]
    pods: tuple[Manifest, ...]

    def __str__(self) -> str:
        sizes = [len(json.dumps(pod)) / 1e3 for pod in self.pods]
        return f"{len(self.jobs)} Jobs, {len(self.pods)} Pods of {min(sizes):.1f}-{max(sizes):.1f} KB"


def dataset(name: str) -> Manifest:
    """Give a DistillDataset of three stages, one Pod each."""
    spec = {
        "source": {"prompts": {"uri": "math/prompts.jsonl", "promptColumn": "problem", "answerColumn": "answer"}},
        "teacher": {
            "endpoints": ["http://deepseek-r1.teachers:1025/v1"],
            "model": "deepseek-r1",
            "sampling": {"generationsPerPrompt": 2, "maxTokens": 16384, "temperature": 0.6, "topP": 0.95},
            "maxConcurrentRequests": 100,
        },
        "filter": {"minAcceptanceRate": 0.3},
        "pack": {"tokenizer": {"uri": "models/qwen2.5-7b"}, "sequenceLength": 32768},
        "storage": {"claimName": "distill"},
    }
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "npu-distill.io/v1alpha1", "kind": "DistillDataset", "metadata": metadata, "spec": spec}


async def live_until_ready(api: ApiClient, name: str) -> History:
    """Let the operator, which must be running, bring an object to its end; every Pod succeeds at once."""

    async def run_job(job: Manifest) -> None:
        pod = _pod(job)
        await api.set_status(await api.create(pod), _succeeded(pod))
        await api.set_status(job, _COMPLETE)

    return await _live(api, name, run_job, _is_ready)


async def live_until_running(api: ApiClient, name: str, address: str) -> History:
    """Let the operator start an object's first Job, whose Pod runs at an address and goes on running."""

    async def run_job(job: Manifest) -> None:
        pod = _pod(job)
        await api.set_status(await api.create(pod), _running(pod, address))
        await api.set_status(job, {"startTime": AT, "active": 1, "ready": 1})

    return await _live(api, name, run_job, _is_running)


async def multiply(
    api: ApiClient, history: History, numbers: Iterable[int], change: Callable[[int, str], str] = lambda _, text: text
) -> None:
    """Copy a history under the names of `numbers`; `change` may alter the JSON text of each copied Pod."""
    original = history.dataset["metadata"]

    async def copy(number: int) -> None:
        name = f"copy-{number:05}"

        def renamed(manifest: Manifest, *uids: tuple[str, str]) -> Manifest:
            text = json.dumps(manifest).replace(original["name"], name)
            for old, new in uids:
                text = text.replace(old, new)
            if manifest["kind"] == "Pod":
                text = change(number, text)
            return _as_new(json.loads(text))

        created = await api.create(renamed(history.dataset))
        owner = (original["uid"], created["metadata"]["uid"])
        await api.set_status(created, renamed(history.dataset, owner)["status"])
        for job in history.jobs:
            own = await api.create_with_status(renamed(job, owner))
            uids = (owner, (job["metadata"]["uid"], own["metadata"]["uid"]))
            for pod in history.pods:
                if _owner(pod) == job["metadata"]["uid"]:
                    await api.create_with_status(renamed(pod, *uids))

    await at_once(CLIENTS, copy, numbers)


async def _live(
    api: ApiClient, name: str, run_job: Callable[[Manifest], Any], arrived: Callable[[dict[str, Any]], bool]
) -> History:
    created = await api.create(dataset(name))
    uid = created["metadata"]["uid"]

    async def control_jobs() -> None:
        async for job in api.created("Job"):
            if _owner(job) == uid:
                await run_job(job)

    async def has_arrived() -> bool:
        status = (await api.get("DistillDataset", name)).get("status", {})
        return arrived(status)

    controller = asyncio.create_task(control_jobs())
    try:
        await until(f"{name} to get where it is wanted", SECONDS, has_arrived)
    finally:
        controller.cancel()
    jobs = tuple(job for job in await api.list("Job") if _owner(job) == uid)
    of_jobs = {job["metadata"]["uid"] for job in jobs}
    pods = tuple(pod for pod in await api.list("Pod") if _owner(pod) in of_jobs)
    return History(await api.get("DistillDataset", name), jobs, pods)


def _is_ready(status: dict[str, Any]) -> bool:
    return any(item["type"] == "Ready" and item["status"] == "True" for item in status.get("conditions", ()))


def _is_running(status: dict[str, Any]) -> bool:
    return any(stage["state"] == "Running" for stage in status.get("stages", ()))


def _owner(body: Manifest) -> str | None:
    return next((owner["uid"] for owner in body["metadata"].get("ownerReferences", ())), None)


def _as_new(body: Manifest) -> Manifest:
    """Leave out what the API server gives an object when it is created."""
    for field in _OF_ONE_OBJECT:
        body["metadata"].pop(field, None)
    if body["kind"] == "Job":
        del body["spec"]["selector"]
        for label in _OF_ONE_JOB:
            body["spec"]["template"]["metadata"]["labels"].pop(label, None)
    return body


def _pod(job: Manifest) -> Manifest:
    """Give the Pod that the Job controller makes of an Indexed Job, on the node that the scheduler would choose."""
    template, name = job["spec"]["template"], job["metadata"]["name"]
    index = {"batch.kubernetes.io/job-completion-index": "0"}
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"]}
    metadata = {
        "name": f"{name}-0-x7k2p",
        "labels": {**template["metadata"]["labels"], **index},
        "annotations": {**template["metadata"].get("annotations", {}), **index},
        "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
    }
    spec = {**template["spec"], "hostname": f"{name}-0", "nodeName": "npu-distill-node0"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


_COMPLETE = {
    "startTime": AT,
    "completionTime": AT,
    "succeeded": 1,
    "completedIndexes": "0",
    "ready": 0,
    "terminating": 0,
    "uncountedTerminatedPods": {},
    "conditions": [
        {
            "type": kind,
            "status": "True",
            "reason": "CompletionsReached",
            "message": "Reached expected number of succeeded pods",
            "lastProbeTime": AT,
            "lastTransitionTime": AT,
        }
        for kind in ("SuccessCriteriaMet", "Complete")
    ],
}


def _succeeded(pod: Manifest) -> Manifest:
    said = Result(
        outcome="Succeeded",
        reason="Done",
        message="100,000 of 100,000 prompts answered, 2 generations each.",
        artifact=ArtifactReference(uri=f"npu-distill/{NAMESPACE}/{pod['metadata']['name']}", digest=_DIGEST),
        counts={"prompts": 100_000, "generations": 200_000, "truncated": 1_234, "failed": 0},
    )
    terminated = {"exitCode": 0, "reason": "Completed", "startedAt": AT, "finishedAt": AT}
    state = {"terminated": {**terminated, "message": said.to_termination_message(), "containerID": _CONTAINER_ID}}
    return _pod_status(pod, "Succeeded", state, "10.203.128.2", "PodCompleted")


def _running(pod: Manifest, address: str) -> Manifest:
    return _pod_status(pod, "Running", {"running": {"startedAt": AT}}, address, None)


_CONTAINER_ID = f"containerd://{'c' * 64}"


def _pod_status(pod: Manifest, phase: str, state: Manifest, address: str, not_ready: str | None) -> Manifest:
    """Give a status as a kubelet writes it."""
    container = pod["spec"]["containers"][0]

    def condition(name: str, reason: str | None = None) -> Manifest:
        said = {"status": "False", "reason": reason} if reason else {"status": "True"}
        return {"type": name, "lastProbeTime": None, "lastTransitionTime": AT, **said}

    return {
        "phase": phase,
        "conditions": [
            condition("PodReadyToStartContainers", not_ready and "PodSandboxGone"),
            condition("Initialized", not_ready),
            condition("Ready", not_ready),
            condition("ContainersReady", not_ready),
            condition("PodScheduled"),
        ],
        "hostIP": "10.203.0.10",
        "hostIPs": [{"ip": "10.203.0.10"}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": AT,
        "qosClass": "Burstable",
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": f"sha256:{'a' * 64}",
                "containerID": _CONTAINER_ID,
                "ready": not not_ready,
                "started": not not_ready,
                "restartCount": 0,
                "lastState": {},
                "state": state,
                "resources": container.get("resources", {}),
                "volumeMounts": container.get("volumeMounts", []),
            }
        ],
    }

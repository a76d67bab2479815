"""The loads of the operator, each on a control plane of its own: `python -m bench._operator_loads LOAD COUNT`.

Prints its figures as JSON. It is a program of its own because it must be in namespaces of its own.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from statistics import quantiles
from typing import Any

import uvloop

from bench._api_client import ApiClient, Manifest, at_once, connect, until
from bench._control_plane import ControlPlane, Write, control_plane
from bench._controllers import Controller, job_set, jobset, operator
from bench._histories import dataset, live_until_ready, live_until_running, multiply

Figures = dict[str, Any]

CLIENTS = 8
FIRST_SECONDS = 20.0
QUIET_SECONDS = 10.0
NEWCOMERS = 10
PATIENCE_SECONDS = 600.0


async def start(count: int) -> Figures:
    """Start the operator where there are finished objects; one is new before, and one once it says that it is ready."""
    async with _control_plane() as (plane, api):
        with operator(plane) as controller:
            await controller.ready()
            history = await live_until_ready(api, "original")
        await multiply(api, history, range(1, count))
        created = await _newcomer(api, 0)
        began = time.time()
        with operator(plane) as controller:
            await controller.ready()
            created |= await _newcomer(api, 1)
            await _looked_at(controller, count + len(created))
            await _none_waits(controller)
            settled = time.time()
            looks = await _all_first_looks(plane, created)
            used = controller.processor_seconds()
            await asyncio.sleep(QUIET_SECONDS)
            peak = controller.peak_bytes()
        writes = plane.writes("operator", since=began)
    return {
        "history": str(history),
        "seconds": max(settled, *looks.values()) - began,
        "processor_seconds": used,
        "peak_bytes": peak,
        "writes": sum(not any(_concerns(write, name) for name in created) for write in writes),
    }


async def burst(count: int) -> Figures:
    """Create many objects at once: for the operator, and then for JobSet, whose Pods are the same."""
    async with _control_plane() as (plane, api):
        with operator(plane) as controller:
            ours, pod = await _burst(plane, api, controller, count, dataset)
    async with _control_plane() as (plane, api):
        with jobset(plane) as controller:
            theirs, _ = await _burst(plane, api, controller, count, lambda name: job_set(name, pod))
    return {"operator": ours, "jobset": theirs}


async def silence(count: int) -> Figures:
    """Create objects one after the other, beside many whose Pods are running and do not answer."""
    async with _control_plane() as (plane, api):
        address = str(plane.silent_address(0))
        with operator(plane) as controller:
            await controller.ready()
            history = await live_until_running(api, "original", address)

        def at_its_own_address(number: int, pod: str) -> str:
            return pod.replace(f'"{address}"', f'"{plane.silent_address(number)}"')

        await multiply(api, history, range(1, count), at_its_own_address)
        with operator(plane) as controller:
            await controller.ready()
            await _looked_at(controller, count)
            created: dict[str, float] = {}
            await _all_first_looks(plane, await _newcomer(api, 0))  # a start's own delay is not of this load
            for number in range(1, NEWCOMERS + 1):
                created |= await _newcomer(api, number)
                await asyncio.sleep(1)
            looks = await _all_first_looks(plane, created)
    return {"seconds": sorted(looks[name] - created[name] for name in created)}


@asynccontextmanager
async def _control_plane() -> AsyncIterator[tuple[ControlPlane, ApiClient]]:
    with control_plane() as plane:
        async with connect(plane) as api:
            yield plane, api


async def _burst(
    plane: ControlPlane, api: ApiClient, controller: Controller, count: int, manifest: Callable[[str], Manifest]
) -> tuple[Figures, Manifest]:
    """Give the figures, and the Pod of one child.

    One object comes before the others, so that nobody is measured making connections.
    """
    created: dict[str, float] = {}
    seen: dict[str, float] = {}
    pods: list[Manifest] = []

    async def watch() -> None:
        async for job in api.created("Job"):
            seen.setdefault(job["metadata"]["ownerReferences"][0]["name"], time.time())
            pods.append(job["spec"]["template"]["spec"])

    async def create(number: int) -> None:
        name = f"burst-{number:05}"
        created[name] = time.time()
        await api.create(manifest(name))

    async def all_seen() -> bool:
        if watching.done():
            watching.result()
        return seen.keys() == created.keys()

    await controller.ready()
    watching = asyncio.create_task(watch())
    try:
        await create(0)
        await until("the first child", PATIENCE_SECONDS, all_seen)
        first, used = created.popitem()[0], controller.processor_seconds()
        del seen[first]
        await at_once(CLIENTS, create, range(1, count + 1))
        created_all = time.time()
        await until("a child of every object", PATIENCE_SECONDS, all_seen)
        await asyncio.sleep(max(0.0, created_all + FIRST_SECONDS - time.time()))
    finally:
        watching.cancel()
    waits = quantiles([seen[name] - created[name] for name in created], n=100)
    status_writes = _early_status_writes(plane.writes(controller.user), created)
    figures = {
        "children_a_second": count / (max(seen.values()) - min(created.values())),
        "p50_seconds": waits[49],
        "p99_seconds": waits[98],
        "processor_seconds": controller.processor_seconds() - used,
        "peak_bytes": controller.peak_bytes(),
        "status_writes": sum(status_writes) / count,
        "most_status_writes": max(status_writes),
    }
    return figures, pods[0]


async def _looked_at(controller: Controller, count: int) -> None:
    async def holds() -> bool:
        return await controller.metric("npu_distill_reconcile_seconds_count", kind="DistillDataset") >= count

    await until(f"{count} looks at objects", PATIENCE_SECONDS, holds, pause=0.25)


async def _none_waits(controller: Controller) -> None:
    async def holds() -> bool:
        return await controller.metric("npu_distill_queue_length") == 0

    await until("the queue to be empty", PATIENCE_SECONDS, holds, pause=0.25)


async def _newcomer(api: ApiClient, number: int) -> dict[str, float]:
    """Create an object that is new to the operator; gives its name, and when it was asked for."""
    name, began = f"newcomer-{number}", time.time()
    await api.create(dataset(name))
    return {name: began}


async def _all_first_looks(plane: ControlPlane, names: Collection[str]) -> dict[str, float]:
    """Wait until the operator has written for each object; gives when the first of these writes was answered."""

    def first_looks() -> dict[str, float]:
        writes = plane.writes("operator")
        looks = {name: [write.answered_at for write in writes if _concerns(write, name)] for name in names}
        return {name: min(times) for name, times in looks.items() if times}

    async def holds() -> bool:
        return len(first_looks()) == len(names)

    await until(f"a first look at {', '.join(names)}", PATIENCE_SECONDS, holds, pause=0.5)
    return first_looks()


def _concerns(write: Write, name: str) -> bool:
    """Tell whether a write was to an object, to a child of it or to an Event about it."""
    return write.name == name or write.name.startswith((f"{name}-", f"{name}."))


def _early_status_writes(writes: Iterable[Write], created: Mapping[str, float]) -> list[int]:
    """Give the number of status writes that each object got in its first seconds."""
    counts = dict.fromkeys(created, 0)
    for write in writes:
        if write.resource.endswith("s/status") and write.name in created:
            counts[write.name] += write.received_at - created[write.name] <= FIRST_SECONDS
    return list(counts.values())


LOADS: Mapping[str, Callable[[int], Coroutine[Any, Any, Figures]]] = {
    "start": start,
    "burst": burst,
    "silence": silence,
}

if __name__ == "__main__":
    load, number = sys.argv[1:]
    json.dump(uvloop.run(LOADS[load](int(number))), sys.stdout)

"""kopf's edge: watches in, keys into the queue. The only module that imports kopf.

kopf brings the watch streams, their restarts and the initial listing. Nothing of kopf's own state goes into the
cluster: there are only index functions and `on.event` handlers, which set no finalizers and no annotations.

The store is filled by index functions, for what kopf promises of them: each sees an object before its event handlers
do, and no event handler runs before the first listings of all kinds have been through them. So nothing is decided
about an object whose Jobs are not known yet.
"""

import asyncio
import logging
import os
from collections.abc import Collection
from typing import Any

import kopf

from distill_operator.api import GROUP, KINDS, VERSION
from distill_operator.observation import CHILD_SELECTOR, ResourceKey
from distill_operator.store import WATCHED_KINDS, WatchedStore
from distill_operator.work_queue import WorkQueue

STOP_SECONDS = 15.0
"""For kopf to end once one of its tasks has; it gives those that it did not start itself 5 s."""

CHILDREN = {"Job": ("batch", "v1", "jobs"), "Pod": ("", "v1", "pods")}
RESOURCES = {**{name: (GROUP, VERSION, kind.plural) for name, kind in KINDS.items()}, **CHILDREN}

_log = logging.getLogger(__name__)


def build_registry(store: WatchedStore, queue: WorkQueue[ResourceKey]) -> kopf.OperatorRegistry:
    """Give the registry of all handlers: for each kind that is watched, one that fills the store and one that tells."""
    registry = kopf.OperatorRegistry()
    _register_start(registry)
    for kind in WATCHED_KINDS:
        _register_kind(registry, kind, store, queue)
    return registry


def _register_start(registry: kopf.OperatorRegistry) -> None:
    @kopf.on.login(registry=registry, id="login")
    def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.startup(registry=registry, id="configure")
    def _configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.scanning.disabled = True  # what is served was checked before, and watching for more is a right more
        for resource in CHILDREN.values():
            settings.watching.label_selectors[resource] = CHILD_SELECTOR


def _register_kind(
    registry: kopf.OperatorRegistry, kind: str, store: WatchedStore, queue: WorkQueue[ResourceKey]
) -> None:
    # Both are coroutines, because kopf runs plain functions in threads, and the store is not made for those.
    @kopf.index(*RESOURCES[kind], registry=registry, id=f"{kind.lower()}_known")
    async def _known(body: kopf.Body, **_: Any) -> None:
        store.put(kind, body)

    @kopf.on.event(*RESOURCES[kind], registry=registry, id=f"{kind.lower()}_event")
    async def _changed(event: kopf.RawEvent, body: kopf.Body, **_: Any) -> None:
        if event["type"] == "DELETED":
            store.discard(kind, body["metadata"]["uid"])
        for key in store.concerned(kind, body):
            queue.add(key)


async def watch(registry: kopf.OperatorRegistry, namespaces: Collection[str]) -> None:
    """Run kopf until the process is told to stop, or a watch has failed for good.

    kopf cancels its watches once, and one that is just sending its request may take that for the end of a stream and
    begin anew; kopf would wait for it for ever, with all other watches gone. The process is ended then: whatever
    matters is in the cluster.
    """
    others = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=registry, standalone=True, clusterwide=not namespaces, namespaces=namespaces
    )
    running = asyncio.create_task(kopf.run_tasks(tasks, ignored=others))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        running.cancel()
        raise
    finally:
        await _end_with(running)
    await running


async def _end_with(running: asyncio.Task[None]) -> None:
    """Wait for kopf to end, and end the process if it does not."""
    _, going_on = await asyncio.wait({running}, timeout=STOP_SECONDS)
    if going_on:
        _log.critical("the watches do not end within %g s after the first of them; ending the process", STOP_SECONDS)
        logging.shutdown()
        os._exit(1)

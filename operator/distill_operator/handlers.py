"""kopf's edge: watches in, keys into the queue. With `credentials`, the only module that imports kopf.

kopf brings the watch streams and their restarts, the credentials and the end. Nothing of kopf's own state goes into the
cluster: there are only `on.event` handlers, which set no finalizers and no annotations. There are no `kopf.index`
functions, although they would fill the store before any event handler runs: each object holds a lock until it has been
through them, every release wakes all that wait, and the raw objects wait in memory, so that the start grows with the
square of the objects (7,000 took 156 s). What is there at the start is listed by `inventory` before.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Collection
from typing import Any

import kopf

from distill_operator.api import GROUP, KINDS, VERSION
from distill_operator.cluster import PAGE_OBJECTS
from distill_operator.credentials import connect_kopf
from distill_operator.observation import CHILD_SELECTOR, ResourceKey
from distill_operator.store import WATCHED_KINDS, WatchedStore

STOP_SECONDS = 15.0
"""For kopf to end once one of its tasks has; it gives those that it did not start itself 5 s."""
IDLE_SECONDS = 0.1
"""How long kopf's worker of an object waits for the next event. All that time it holds the last one, whole."""

CHILDREN = {"Job": ("batch", "v1", "jobs"), "Pod": ("", "v1", "pods")}
RESOURCES = {**{name: (GROUP, VERSION, kind.plural) for name, kind in KINDS.items()}, **CHILDREN}

_log = logging.getLogger(__name__)


def build_registry(store: WatchedStore, concern: Callable[[ResourceKey], None]) -> kopf.OperatorRegistry:
    """Give the registry of all handlers: for each kind that is watched, one that keeps the store up to date.

    `concern` is called with every custom resource that there is news to.
    """
    registry = kopf.OperatorRegistry()
    _register_start(registry)
    for kind in WATCHED_KINDS:
        _register_kind(registry, kind, store, concern)
    return registry


def _register_start(registry: kopf.OperatorRegistry) -> None:
    @kopf.on.login(registry=registry, id="login")
    async def _login(**kwargs: Any) -> kopf.AiohttpSession | None:
        return connect_kopf(**kwargs)

    @kopf.on.startup(registry=registry, id="configure")
    def _configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.persistence.diffbase_storage = _NoDifferences()
        settings.watching.chunk_size = PAGE_OBJECTS
        settings.queueing.idle_timeout = IDLE_SECONDS
        settings.scanning.disabled = True  # what is served was checked before, and watching for more is a right more
        for resource in CHILDREN.values():
            settings.watching.label_selectors[resource] = CHILD_SELECTOR


def _register_kind(
    registry: kopf.OperatorRegistry, kind: str, store: WatchedStore, concern: Callable[[ResourceKey], None]
) -> None:
    @kopf.on.event(*RESOURCES[kind], registry=registry, id=f"{kind.lower()}_event")
    async def _changed(event: kopf.RawEvent, **_: Any) -> None:  # a coroutine: kopf runs plain functions in threads
        body = event["object"]
        gone = event["type"] == "DELETED"
        for key in store.discard(kind, body["metadata"]["uid"]) if gone else store.put(kind, body):
            concern(key)


class _NoDifferences(kopf.DiffBaseStorage):
    """Spares kopf the copy of every object that it would compare the next one with: no handler asks for differences."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing is stored."""


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

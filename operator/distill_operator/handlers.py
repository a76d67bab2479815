"""kopf's edge: watches in, keys into the queue. The only module that imports kopf.

kopf brings the watch streams, their restarts and the initial listing. Nothing of kopf's own state goes into the
cluster: there are only index functions and `on.event` handlers, which set no finalizers and no annotations.

The store is filled by index functions, for what kopf promises of them: each sees an object before its event handlers
do, and no event handler runs before the first listings of all kinds have been through them. So nothing is decided
about an object whose Jobs are not known yet.
"""

from collections.abc import Collection
from typing import Any

import kopf

from distill_operator.api import GROUP, KINDS, VERSION
from distill_operator.observation import CHILD_SELECTOR, ResourceKey
from distill_operator.store import WATCHED_KINDS, WatchedStore
from distill_operator.work_queue import WorkQueue

CHILDREN = {"Job": ("batch", "v1", "jobs"), "Pod": ("", "v1", "pods")}
RESOURCES = {**{name: (GROUP, VERSION, kind.plural) for name, kind in KINDS.items()}, **CHILDREN}


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
    """Run kopf until the process is told to stop."""
    await kopf.operator(registry=registry, standalone=True, clusterwide=not namespaces, namespaces=namespaces)

"""Taking out of the store what has been deleted unnoticed.

A watch that has fallen too far behind (410, after a partition or a restart of the API server) is begun anew with a
listing. kopf passes on what is in that listing and does not look for what is missing in it, so that whatever was
deleted in between would stay known for ever: a Pod to wait for, an object to start Jobs for.
"""

import asyncio
import logging
from collections.abc import Collection

from distill_operator.cluster import Cluster, ClusterError
from distill_operator.observation import ResourceKey
from distill_operator.store import WATCHED_KINDS, WatchedStore
from distill_operator.work_queue import WorkQueue

SWEEP_SECONDS = 180.0

_log = logging.getLogger(__name__)


async def sweep_regularly(
    store: WatchedStore, cluster: Cluster, queue: WorkQueue[ResourceKey], namespaces: Collection[str]
) -> None:
    """Sweep until cancelled."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        await sweep(store, cluster, queue, namespaces)


async def sweep(
    store: WatchedStore, cluster: Cluster, queue: WorkQueue[ResourceKey], namespaces: Collection[str]
) -> None:
    """Compare the store with what there is in `namespaces`, or in all, and have whom it concerns looked at."""
    for kind in WATCHED_KINDS:
        for namespace in namespaces or (None,):
            try:
                listing = await cluster.list_uids(kind, namespace)
            except ClusterError as error:
                _log.error("%s; next try in %g s", error, SWEEP_SECONDS)
                continue
            for key in store.discard_missing(kind, namespace, listing.version, listing.uids):
                _log.warning("%s: a %s was deleted unnoticed by the watch", key, kind)
                queue.add(key)

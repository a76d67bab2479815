"""What there is, as the API server lists it: all of it once, before anything is decided, then what has gone unnoticed.

A watch that has fallen too far behind (410, after a partition or a restart of the API server) is begun anew with a
listing. kopf passes on what is in that listing and does not look for what is missing in it, so that whatever was
deleted in between would stay known for ever: a Pod to wait for, an object to start Jobs for. The same holds for what is
deleted between the first listing and the beginning of the watches.
"""

import asyncio
import logging
from collections.abc import Callable, Collection

from distill_operator.cluster import Cluster
from distill_operator.errors import BusyError, ClusterError
from distill_operator.observation import ResourceKey
from distill_operator.store import WATCHED_KINDS, WatchedStore
from distill_operator.work_queue import backoff_seconds

FIRST_CHECK_SECONDS = 30.0
CHECK_SECONDS = 180.0

_log = logging.getLogger(__name__)


async def take_inventory(store: WatchedStore, cluster: Cluster, namespaces: Collection[str]) -> None:
    """Put everything into the store that there is in `namespaces`, or in all.

    Raises:
        ClusterError: the API server refuses; while it is merely busy, it is asked again.
    """
    for kind in WATCHED_KINDS:
        for namespace in namespaces or (None,):
            await _take(store, cluster, kind, namespace)


async def _take(store: WatchedStore, cluster: Cluster, kind: str, namespace: str | None) -> None:
    failures = 0
    while True:
        try:
            async for page in cluster.pages(kind, namespace):
                for body in page:
                    store.put(kind, body)
        except BusyError as error:
            failures += 1
            pause = max(backoff_seconds(failures), error.retry_after)
            _log.warning("%s; next try in %g s", error, pause)
            await asyncio.sleep(pause)
        else:
            return


async def check_regularly(
    store: WatchedStore, cluster: Cluster, concern: Callable[[ResourceKey], None], namespaces: Collection[str]
) -> None:
    """Check until cancelled."""
    await asyncio.sleep(FIRST_CHECK_SECONDS)
    while True:
        await check(store, cluster, concern, namespaces)
        await asyncio.sleep(CHECK_SECONDS)


async def check(
    store: WatchedStore, cluster: Cluster, concern: Callable[[ResourceKey], None], namespaces: Collection[str]
) -> None:
    """Take out of the store what there is not in `namespaces`, or in all, and have whom it concerns looked at."""
    for kind in WATCHED_KINDS:
        for namespace in namespaces or (None,):
            try:
                listing = await cluster.list_uids(kind, namespace)
            except ClusterError as error:
                _log.error("%s; next try in %g s", error, CHECK_SECONDS)
                continue
            for key in store.discard_missing(kind, namespace, listing.version, listing.uids):
                _log.warning("%s: a %s was deleted unnoticed by the watch", key, kind)
                concern(key)

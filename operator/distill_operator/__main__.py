"""Run the operator: `python -m distill_operator --config FILE`."""

import argparse
import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from aiohttp import web

from distill_operator.announce import Announcer
from distill_operator.cluster import connect
from distill_operator.errors import ClusterError
from distill_operator.handlers import build_registry, watch
from distill_operator.inventory import check_regularly, take_inventory
from distill_operator.metrics import Metrics
from distill_operator.nodes import NodeReader
from distill_operator.observation import ResourceKey
from distill_operator.progress import ProgressPoller
from distill_operator.reach import end_when_within_reach, within_reach
from distill_operator.reconcile import Reconciler
from distill_operator.server import PORT, build_server
from distill_operator.settings import Settings, SettingsError, load_settings
from distill_operator.store import WatchedStore
from distill_operator.work_queue import WorkQueue
from distill_operator.workloads import WorkloadReader

WORKERS = 16
NEW_OBJECTS_BEFORE_COLLECTION = 50_000
"""Python looks for cycles whenever it has made so many objects more than were freed, 700 unless told. A page of a
listing is a hundred thousand at once, none of them in a cycle: the search was a seventh of a start's CPU-seconds."""
GATHERING_SECONDS = 1.0
"""From the answer of a Pod to a look at its object: a thousand shards that answer in that time are one look."""


async def run(settings: Settings, port: int) -> None:
    """Watch and reconcile until SIGTERM or SIGINT.

    Raises:
        ClusterError: the API server cannot be reached, or does not serve what is to be watched.
        ExceptionGroup: of ClusterErrors, when a namespace that was left out can be watched.
    """
    metrics, store, listed = Metrics(), WatchedStore(), asyncio.Event()
    queue: WorkQueue[ResourceKey] = WorkQueue()
    poller = ProgressPoller(settings.progress_interval_seconds, lambda key: queue.add_after(key, GATHERING_SECONDS))
    async with (
        connect() as cluster,
        poller,
        _serving(build_server(metrics, queue.longest_busy_seconds, listed.is_set), port),
    ):
        announcer = Announcer(cluster.emit, _now)
        workloads = WorkloadReader(cluster, _now, allowed=settings.queues.kueue)
        nodes = NodeReader(cluster, allowed=settings.queues.nodes)
        reconciler = Reconciler(
            store,
            cluster,
            poller,
            workloads,
            nodes,
            settings,
            metrics,
            _now,
            concern=queue.add,
            announce=announcer.announce,
        )
        metrics.watch_queue(queue.__len__)
        await cluster.require_kinds()  # kopf would run on without what is missing, and never look again
        namespaces = await within_reach(cluster, settings.watch_namespaces)
        left_out = {*settings.watch_namespaces} - {*namespaces}
        await take_inventory(store, cluster, namespaces)
        for key in store.known():
            queue.add(key)
        listed.set()
        async with asyncio.TaskGroup() as group:
            background = (
                group.create_task(queue.run(reconciler.reconcile, WORKERS)),
                group.create_task(announcer.run()),
                group.create_task(check_regularly(store, cluster, queue.add, namespaces)),
                group.create_task(end_when_within_reach(cluster, left_out)),
            )
            await asyncio.sleep(0)  # at its end kopf waits 5 s for whatever was started after it, so not for these
            await watch(build_registry(store, queue.add), namespaces)
            for task in background:
                task.cancel()


def _now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def _serving(application: web.Application, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="distill_operator", description="The npu-distill operator.")
    parser.add_argument("--config", type=Path, required=True, help="configuration file (YAML)")
    parser.add_argument("--port", type=int, default=PORT, help="port of /healthz and /metrics")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # else a line for every event of every object
    try:
        settings = load_settings(arguments.config)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    gc.set_threshold(NEW_OBJECTS_BEFORE_COLLECTION)
    exit_code = 0
    try:
        uvloop.run(run(settings, arguments.port))
    except* ClusterError as errors:
        sys.stderr.writelines(f"{error}\n" for error in errors.exceptions)
        exit_code = 1
    return exit_code


if __name__ == "__main__":
    sys.exit(main())

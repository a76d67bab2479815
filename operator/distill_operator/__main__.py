"""Run the operator: `python -m distill_operator --config FILE`."""

import argparse
import asyncio
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import web

from distill_operator.cluster import ClusterError, connect
from distill_operator.handlers import build_registry, watch
from distill_operator.metrics import Metrics
from distill_operator.observation import ResourceKey
from distill_operator.progress import ProgressPoller
from distill_operator.reach import end_when_within_reach, within_reach
from distill_operator.reconcile import Reconciler
from distill_operator.server import PORT, build_server
from distill_operator.settings import Settings, SettingsError, load_settings
from distill_operator.store import WatchedStore
from distill_operator.sweep import sweep_regularly
from distill_operator.work_queue import WorkQueue

WORKERS = 16


async def run(settings: Settings, port: int) -> None:
    """Watch and reconcile until SIGTERM or SIGINT.

    Raises:
        ClusterError: the API server cannot be reached, or does not serve what is to be watched.
        ExceptionGroup: of ClusterErrors, when a namespace that was left out can be watched.
    """
    metrics = Metrics()
    async with connect() as cluster, aiohttp.ClientSession() as session:
        await cluster.require_kinds()  # kopf would run on without what is missing, and never look again
        namespaces = await within_reach(cluster, settings.watch_namespaces)
        left_out = {*settings.watch_namespaces} - {*namespaces}
        store = WatchedStore()
        poller = ProgressPoller(session, settings.progress_interval_seconds)
        reconciler = Reconciler(store, cluster, poller, settings, metrics, clock=lambda: datetime.now(UTC))
        queue: WorkQueue[ResourceKey] = WorkQueue(reconciler.reconcile, expected=(ClusterError,))
        metrics.watch_queue(queue.__len__)
        server = web.AppRunner(build_server(metrics, queue.longest_busy_seconds), access_log=None)
        await server.setup()
        await web.TCPSite(server, port=port).start()
        try:
            async with asyncio.TaskGroup() as group:
                background = (
                    group.create_task(queue.run(WORKERS)),
                    group.create_task(sweep_regularly(store, cluster, queue, namespaces)),
                    group.create_task(end_when_within_reach(cluster, left_out)),
                )
                await asyncio.sleep(0)  # at its end kopf waits 5 s for whatever was started after it, so not for these
                await watch(build_registry(store, queue), namespaces)
                for task in background:
                    task.cancel()
        finally:
            await server.cleanup()


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
    exit_code = 0
    try:
        uvloop.run(run(settings, arguments.port))
    except* ClusterError as errors:
        sys.stderr.writelines(f"{error}\n" for error in errors.exceptions)
        exit_code = 1
    return exit_code


if __name__ == "__main__":
    sys.exit(main())

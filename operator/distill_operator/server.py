"""The operator's own HTTP server: /healthz and /readyz for the kubelet, /metrics for Prometheus."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from distill_operator.metrics import Metrics

PORT = 8080
STUCK_SECONDS = 300.0
"""Longest that one reconciliation may take: every request inside it has a time-out far below."""


def build_server(
    metrics: Metrics, longest_busy_seconds: Callable[[], float], knows_the_cluster: Callable[[], bool]
) -> web.Application:
    """Give the application.

    It is healthy while the event loop answers and no worker is stuck, and ready once it knows what there is in the
    cluster, so that it decides.
    """

    async def healthz(_: web.Request) -> web.Response:
        busy = longest_busy_seconds()
        if busy > STUCK_SECONDS:
            return web.Response(status=503, text=f"a reconciliation has been running for {busy:.0f} s\n")
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if not knows_the_cluster():
            return web.Response(status=503, text="listing what there is\n")
        return web.Response(text="ok\n")

    async def expose(_: web.Request) -> web.Response:
        return web.Response(body=metrics.expose(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/metrics", expose)
    return application

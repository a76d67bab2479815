"""Who reads a stage's progress: the operator over HTTP, Prometheus, and a person in the log.

Both run in daemon threads of the standard library, so that a stage that computes, without an event loop, is heard
all the same and needs no further package.
"""

import logging
import threading
from collections.abc import Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from distill_runtime.contract import Progress
from distill_runtime.process.progress import Reporter, describe

logger = logging.getLogger(__name__)


def start_server(reporter: Reporter, port: int) -> ThreadingHTTPServer:
    """Serve /progress (JSON), /metrics (Prometheus text) and /healthz until the process ends.

    Returns:
        the server; its `server_port` says where, when `port` is 0.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path:
                case "/progress":
                    body = reporter.snapshot().model_dump_json(by_alias=True, exclude_none=True)
                    self._answer(HTTPStatus.OK, "application/json", body)
                case "/metrics":
                    body = "\n".join(metric_lines(reporter.snapshot())) + "\n"
                    self._answer(HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", body)
                case "/healthz":
                    self._answer(HTTPStatus.OK, "text/plain", "ok\n")
                case _:
                    self._answer(HTTPStatus.NOT_FOUND, "text/plain", "try /progress, /metrics or /healthz\n")

        def _answer(self, status: HTTPStatus, content_type: str, body: str) -> None:
            content = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's signature
            logger.debug(format, *args)

    server = ThreadingHTTPServer(("", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="progress-server", daemon=True).start()
    return server


def start_log(reporter: Reporter, every_seconds: float) -> None:
    """Log a line of progress every so often until the process ends, but none that repeats the one before."""

    def follow() -> None:
        previous = ""
        while True:
            pause.wait(every_seconds)
            line = describe(reporter.snapshot())
            if line != previous:
                logger.info("%s", line)
            previous = line

    pause = threading.Event()
    threading.Thread(target=follow, name="progress-log", daemon=True).start()


def metric_lines(progress: Progress) -> Iterable[str]:
    """Give progress in Prometheus' text format, one gauge a figure."""
    stage = f'stage="{progress.stage}"'
    figures = [
        ("done", f'{{{stage},unit="{progress.unit}"}}', progress.done),
        ("total", f'{{{stage},unit="{progress.unit}"}}', progress.total),
        ("rate", f"{{{stage}}}", progress.rate),
        ("eta_seconds", f"{{{stage}}}", progress.eta_seconds),
    ]
    for name, labels, value in figures:
        if value is not None:
            yield f"# TYPE npu_distill_stage_{name} gauge"
            yield f"npu_distill_stage_{name}{labels} {value}"
    for name, values in (("count", progress.counts), ("figure", progress.metrics)):
        if values:
            yield f"# TYPE npu_distill_stage_{name} gauge"
        for key, value in sorted(values.items()):
            yield f'npu_distill_stage_{name}{{{stage},name="{_escape(key)}"}} {value}'


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

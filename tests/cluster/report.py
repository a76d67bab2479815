"""What `cluster-status` prints."""

from collections.abc import Iterable
from typing import Any

from .api import Api
from .nodes import NPU
from .processes import Running, running
from .settings import Settings


def report(settings: Settings) -> str:
    """Returns the state of the cluster in lines: programs, nodes, Pods that do not run, and how to reach it."""
    programs = running()
    if not programs:
        return "no cluster is up: run `make cluster-up`"
    lines = [
        f"export KUBECONFIG={settings.kubeconfig} PATH={settings.programs}:$PATH",
        "",
        *table(["PROGRAM", "PROCESSES", "MEMORY"], map(program_row, programs)),
    ]
    if settings.kubeconfig.exists() and (api := Api(settings.kubeconfig)).ready():
        pods = api.get("/api/v1/pods")["items"]
        idle = [pod_row(pod) for pod in pods if pod["status"]["phase"] not in ("Running", "Succeeded")]
        lines += [
            "",
            *table(["NODE", "READY", "ADDRESS", "NPUS"], map(node_row, api.get("/api/v1/nodes")["items"])),
            "",
            f"{len(pods)} Pods, {len(idle)} of them neither running nor succeeded",
            *(table(["POD", "PHASE", "REASON"], idle) if idle else ()),
        ]
    else:
        lines += ["", "the API server is not ready: `make cluster-down`, then `make cluster-up`"]
    return "\n".join(lines)


def program_row(program: Running) -> list[str]:
    memory = f"{program.resident_bytes / 1e6:.0f} MB" if program.processes else "ended"
    return [program.name, ",".join(map(str, sorted(program.processes))), memory]


def node_row(node: dict[str, Any]) -> list[str]:
    status = node["status"]
    ready = next((each["status"] for each in status["conditions"] if each["type"] == "Ready"), "Unknown")
    return [node["metadata"]["name"], ready, status["addresses"][0]["address"], status["allocatable"].get(NPU, "0")]


def pod_row(pod: dict[str, Any]) -> list[str]:
    """Returns a Pod's name, its phase, and what it waits for, as the containers or else the scheduler say."""
    status = pod["status"]
    waiting = [container["state"].get("waiting", {}) for container in status.get("containerStatuses", ())]
    refused = [each for each in status.get("conditions", ()) if each["status"] == "False"]
    said: dict[str, Any] = next((each for each in (*waiting, *refused) if each.get("reason")), {})
    reason = ": ".join(filter(None, (said.get("reason"), said.get("message"))))
    return [f"{pod['metadata']['namespace']}/{pod['metadata']['name']}", status["phase"], reason]


def table(header: list[str], rows: Iterable[list[str]]) -> list[str]:
    """Returns rows as lines, each column as wide as its widest cell."""
    cells = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]

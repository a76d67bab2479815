"""Which devices are free on the nodes that Pods may run on: read when some of them fit on none, and only then.

It takes a right on the whole cluster, to list nodes and everybody's Pods, which the operator has only where the chart's
values say so (queues.nodes). Pods are read a page at a time, and only what they ask for is kept.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from distill_operator.api.quantities import QUANTITY
from distill_operator.errors import ClusterError
from distill_operator.observation import DeviceRequest, NodeDevices
from distill_operator.settings import whole

RUNNING = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"

_log = logging.getLogger(__name__)


class Lister(Protocol):
    """What can list a kind in the whole cluster."""

    def everywhere(self, kind: str, *query: tuple[str, str]) -> AsyncIterator[list[dict[str, Any]]]:
        """Give pages of it. Raises `ClusterError`."""


class NodeReader:
    """Reads what is free, if it may."""

    def __init__(self, cluster: Lister, *, allowed: bool) -> None:
        self._cluster = cluster
        self._allowed = allowed

    async def free_devices(self, request: DeviceRequest) -> tuple[NodeDevices, ...] | None:
        """Give the nodes with such devices, those with most free first; None if they cannot be read."""
        if not self._allowed:
            return None
        selector = ",".join(f"{name}={value}" for name, value in request.node_selector)
        nodes, used = dict[str, dict[str, Any]](), Counter[str]()
        try:
            async for page in self._cluster.everywhere("Node", ("labelSelector", selector)):
                nodes |= {body["metadata"]["name"]: body for body in page}
            async for page in self._cluster.everywhere("Pod", ("fieldSelector", RUNNING)):
                for body in page:
                    used[body["spec"]["nodeName"]] += requested(body["spec"], request.resource)
        except ClusterError as error:
            _log.warning("the nodes cannot be read: %s", error)
            return None
        found = [_devices(name, body, request.resource, used[name]) for name, body in nodes.items()]
        return tuple(sorted((each for each in found if each.devices), key=lambda each: (-each.free, each.node)))


def requested(pod: Mapping[str, Any], resource: str) -> int:
    """Give how much of a resource a Pod of this spec takes, as the scheduler counts it.

    Containers, with those that run beside them, or the largest of those that run before (Kubernetes documentation,
    "Resource sharing within containers").
    """
    initial = pod.get("initContainers") or ()
    beside = [each for each in initial if each.get("restartPolicy") == "Always"]
    before = [_asked(each, resource) for each in initial if each.get("restartPolicy") != "Always"]
    return max(sum(_asked(each, resource) for each in (*pod.get("containers", ()), *beside)), *before, 0)


def _asked(container: Mapping[str, Any], resource: str) -> int:
    return _amount((container.get("resources") or {}).get("requests"), resource)


def _devices(name: str, node: Mapping[str, Any], resource: str, used: int) -> NodeDevices:
    devices = _amount((node.get("status") or {}).get("allocatable"), resource)
    cordoned = bool((node.get("spec") or {}).get("unschedulable"))
    return NodeDevices(name, devices, max(devices - used, 0), cordoned)


def _amount(amounts: Mapping[str, Any] | None, resource: str) -> int:
    quantity = str((amounts or {}).get(resource, "0"))
    return whole(quantity) if QUANTITY.fullmatch(quantity) else 0

"""Where devices are free, over real HTTP."""

from typing import Any

import pytest
from unit.operator.builders import NAMESPACE
from unit.operator.test_cluster import connected

from distill_operator.nodes import NodeReader, requested
from distill_operator.observation import DeviceRequest, NodeDevices

NPU = "huawei.com/Ascend910"
REQUEST = DeviceRequest(NPU, (("accelerator", "huawei-Ascend910"),))


def container(devices: int | str | None = None, **fields: Any) -> dict[str, Any]:
    resources = {"resources": {"requests": {NPU: str(devices)}}} if devices is not None else {}
    return {"name": "any", **resources, **fields}


def node(name: str, devices: str | None = "8", **spec: Any) -> dict[str, Any]:
    allocatable = {"cpu": "64", **({NPU: devices} if devices is not None else {})}
    return {"metadata": {"name": name}, "spec": spec, "status": {"allocatable": allocatable}}


def pod(uid: str, on: str, *devices: int) -> dict[str, Any]:
    spec = {"nodeName": on, "containers": [container(number) for number in devices]}
    return {"metadata": {"name": uid, "namespace": NAMESPACE, "uid": uid}, "spec": spec}


async def test_what_no_pod_has_asked_for_is_free_whoever_s_pod_it_is() -> None:
    async with connected() as (cluster, server):
        server.nodes = [node("full"), node("half", unschedulable=True), node("cpu", None), node("odd", "many")]
        for one in (pod("a", "full", 4), pod("b", "full", 2, 2), pod("c", "half", 5), pod("d", "elsewhere", 8)):
            server.put("Pod", one)
        found = await NodeReader(cluster, allowed=True).free_devices(REQUEST)
    assert found == (NodeDevices("half", 8, 3, cordoned=True), NodeDevices("full", 8, 0))
    nodes, pods = server.requests
    assert nodes.query["labelSelector"] == "accelerator=huawei-Ascend910"
    assert pods.query["fieldSelector"] == "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"


async def test_without_the_right_nothing_is_known() -> None:
    async with connected() as (cluster, server):
        assert await NodeReader(cluster, allowed=False).free_devices(REQUEST) is None
        assert server.requests == []
        server.refusal = (403, "nodes is forbidden")
        assert await NodeReader(cluster, allowed=True).free_devices(REQUEST) is None


@pytest.mark.parametrize(
    ("pod", "devices"),
    [
        ({"containers": [container(2), container()]}, 2),
        ({"containers": [container(1)], "initContainers": [container(4)]}, 4),
        ({"containers": [container()], "initContainers": [container(8, restartPolicy="Always")]}, 8),
        ({"containers": [container("lots")], "initContainers": None}, 0),
    ],
    ids=["containers", "before", "beside", "no-quantity"],
)
def test_a_pod_takes_what_the_scheduler_counts(pod: dict[str, Any], devices: int) -> None:
    assert requested(pod, NPU) == devices

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from tests.cluster.errors import ClusterError
from tests.cluster.network import clash
from tests.cluster.settings import read_settings


def test_defaults() -> None:
    settings = read_settings({})
    assert settings.cache == Path.home() / ".cache/npu-distill"
    assert settings.network == IPv4Network("10.203.0.0/16")


def test_all_addresses_are_of_the_network_and_no_two_ranges_overlap() -> None:
    settings = read_settings({"NPU_DISTILL_NETWORK": "172.20.0.0/16"})
    ranges = [settings.machines, settings.services, *(node.pods for node in settings.nodes)]
    assert all(each.subnet_of(settings.network) for each in ranges)
    assert not any(one.overlaps(other) for one in ranges for other in ranges if one is not other)
    machines = [settings.control_plane, settings.host, *(node.address for node in settings.nodes)]
    assert len(set(machines)) == len(machines)
    assert all(address in settings.machines for address in machines)
    assert all(node.pods.subnet_of(settings.pods) for node in settings.nodes)
    assert not settings.pods.overlaps(settings.services)


@pytest.mark.parametrize("network", ["10.203.0.0/24", "8.8.0.0/16", "10.203.1.0/16", "nonsense"])
def test_a_network_that_cannot_be_used_is_named(network: str) -> None:
    with pytest.raises(ClusterError, match=f"NPU_DISTILL_NETWORK={network}"):
        read_settings({"NPU_DISTILL_NETWORK": network})


@pytest.mark.parametrize(
    ("routes", "clashes"),
    [
        ("default via 192.0.2.1 dev eth0 \n192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.2", False),
        ("10.203.0.0/24 dev npu-distill proto kernel scope link src 10.203.0.254", False),
        ("10.0.0.0/8 dev tun0 scope link", True),
        ("10.203.7.9 dev tun0 scope link", True),
        ("unreachable 10.203.0.0/16 metric 4278198272", True),
        ("blackhole 10.9.0.0/24", False),
    ],
)
def test_a_route_of_this_machine_to_the_networks_addresses_is_found(routes: str, clashes: bool) -> None:
    assert (clash(read_settings({}), routes) is not None) == clashes

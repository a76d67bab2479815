"""Where the local cluster keeps what it has, and which addresses and names it uses on this machine.

Two variables of the environment change it: NPU_DISTILL_CACHE (a folder, ~/.cache/npu-distill) and NPU_DISTILL_NETWORK
(a private /16 that nothing else on this machine uses, 10.203.0.0/16).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from .errors import ClusterError

NAME = "npu-distill"
REPOSITORY = Path(__file__).resolve().parents[2]
RUN = Path("/run") / NAME
API_PORT = 6443
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Node:
    """One node: a network namespace and a mount namespace with a containerd and a kubelet of their own."""

    name: str
    address: IPv4Address
    pods: IPv4Network

    @property
    def run(self) -> Path:
        """The node's /run, seen from the host."""
        return RUN / self.name

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd/containerd.sock"


@dataclass(frozen=True)
class Settings:
    """The cluster of one cache folder. Only one cluster can be up on a machine."""

    cache: Path
    network: IPv4Network

    @property
    def programs(self) -> Path:
        return self.cache / "bin"

    @property
    def state(self) -> Path:
        """What belongs to one life of the cluster; emptied by `up` and, but for the logs, by `down`."""
        return self.cache / "cluster"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def volumes(self) -> Path:
        return self.state / "volumes"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "admin.kubeconfig"

    @property
    def image_layout(self) -> Path:
        """The OCI image layout that nodes are loaded from."""
        return self.cache / "images/oci"

    def image_store(self, node: Node) -> Path:
        """A node's containerd store. It outlives the cluster, so that an image is unpacked only once."""
        return self.cache / "containerd" / node.name

    @property
    def _subnets(self) -> list[IPv4Network]:
        return list(self.network.subnets(new_prefix=24))

    @property
    def machines(self) -> IPv4Network:
        return self._subnets[0]

    @property
    def control_plane(self) -> IPv4Address:
        return self.machines[1]

    @property
    def host(self) -> IPv4Address:
        """This machine's own address in the cluster's network, from which it reaches the API server."""
        return self.machines[254]

    def overlaps(self, destination: str) -> bool:
        """Tells if a destination of a route, such as `10.0.0.0/8`, has addresses of the cluster's network."""
        return self.network.overlaps(IPv4Network(destination, strict=False))

    @property
    def services(self) -> IPv4Network:
        return self._subnets[1]

    @property
    def pods(self) -> IPv4Network:
        """Every node's Pods: the upper half of the network."""
        return list(self.network.subnets(prefixlen_diff=1))[1]

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(
            Node(f"{NAME}-node{index}", self.machines[10 + index], self._subnets[128 + index]) for index in range(2)
        )


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Reads the settings from the environment; raises ClusterError for a network that cannot be used."""
    cache = environment.get("NPU_DISTILL_CACHE")
    text = environment.get("NPU_DISTILL_NETWORK", "10.203.0.0/16")
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise ClusterError(f"NPU_DISTILL_NETWORK={text}: {error}") from error
    if network.prefixlen != 16 or not network.is_private:
        raise ClusterError(f"NPU_DISTILL_NETWORK={text}: give a private network of 16 bits, such as 10.203.0.0/16")
    return Settings(Path(cache).resolve() if cache else Path.home() / ".cache" / NAME, network)

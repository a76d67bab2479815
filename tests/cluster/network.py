"""The cluster's network: a bridge on the control plane's machine, a cable from it to each node and one to this host.

The bridge is in a network namespace of its own, so that neither this host's firewall nor its forwarding has a say in
the traffic between nodes, and none of that traffic can leave: no machine has a default route. The host reaches the
machines (the API server and the kubelets), not Pods or Services: `kubectl port-forward` and `exec` do.
"""

from .errors import ClusterError, run
from .processes import holder, run_within
from .settings import NAME, Node, Settings

CONTROL_PLANE = f"{NAME}-control"
HOST_LINK = NAME  # 11 characters; the kernel takes 15


def control_plane_commands(settings: Settings) -> str:
    """Returns the `ip` commands that make the bridge on the control plane's machine."""
    width = settings.machines.prefixlen
    routes = [f"route add {node.pods} via {node.address}" for node in settings.nodes]
    return "\n".join(
        [
            "link set lo up",
            "link add cluster type bridge",
            f"address add {settings.control_plane}/{width} dev cluster",
            "link set cluster up",
            *routes,
        ]
    )


def cable_commands(settings: Settings, node: Node, process: int) -> str:
    """Returns the `ip` commands that lead a cable from the bridge to a node, whose namespace `process` is in."""
    port = f"node{settings.nodes.index(node)}"
    return "\n".join(
        [
            f"link add {port} type veth peer name eth0 netns {process}",
            f"link set {port} master cluster up",
        ]
    )


def node_commands(settings: Settings, node: Node) -> str:
    """Returns the `ip` commands that a node's own network needs."""
    others = [f"route add {other.pods} via {other.address}" for other in settings.nodes if other != node]
    return "\n".join(
        [
            "link set lo up",
            f"address add {node.address}/{settings.machines.prefixlen} dev eth0",
            "link set eth0 up",
            # kube-proxy rewrites a Service's address, but only of packets that have somewhere to go.
            f"route add {settings.services} dev eth0",
            *others,
        ]
    )


def connect(settings: Settings) -> None:
    """Connects the machines, which are up, with each other and with this host."""
    control_plane = holder(CONTROL_PLANE)
    run_within(CONTROL_PLANE, ["ip", "-batch", "-"], text=control_plane_commands(settings))
    for node in settings.nodes:
        cable = cable_commands(settings, node, holder(node.name))
        run_within(CONTROL_PLANE, ["ip", "-batch", "-"], text=cable)
        run_within(node.name, ["ip", "-batch", "-"], text=node_commands(settings, node))
        run_within(node.name, ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
    run(["ip", "link", "add", HOST_LINK, "type", "veth", "peer", "name", "host", "netns", str(control_plane)])
    run(["ip", "address", "add", f"{settings.host}/{settings.machines.prefixlen}", "dev", HOST_LINK])
    run(["ip", "link", "set", HOST_LINK, "up"])
    run_within(CONTROL_PLANE, ["ip", "link", "set", "host", "master", "cluster", "up"])


def clash(settings: Settings, routes: str) -> str | None:
    """Returns the line of `ip -4 route` that uses an address of ours, None if no line does."""
    for line in routes.splitlines():
        # A route of another type than unicast has its type before its destination: `unreachable 10.0.0.0/8`.
        destination = next((word for word in line.split() if word == "default" or word[0].isdigit()), "default")
        if destination != "default" and f"dev {HOST_LINK} " not in line and settings.overlaps(destination):
            return line
    return None


def disconnect() -> None:
    """Removes this host's end of the cable. The kernel does so too once the machines are gone, but in its own time."""
    try:
        run(["ip", "link", "delete", HOST_LINK])
    except ClusterError:
        if f" {HOST_LINK}@" in run(["ip", "-o", "link"]):
            raise

"""A node: containerd, kubelet and kube-proxy in the node's own namespaces, with eight NPUs that are only a number.

On a node, /run is the node's own, /run/node its files and /run/store its images: short paths (a Unix socket's is at
most 107 characters) that do not depend on the cache folder's.
"""

import json
from pathlib import Path
from typing import Any

from . import cgroups
from .api import Api
from .control_plane import DOMAIN
from .pki import Authority
from .processes import Program, run_within
from .settings import Node, Settings

CONTAINERD = "/run/containerd/containerd.sock"
NETWORK_PLUGINS = "/usr/lib/cni"
PAUSE = "localhost/npu-distill/pause:local"
NPU = "huawei.com/Ascend910"
NPUS = 8
# What MindCluster's device plugin writes on an Atlas 800T A2.
LABELS = {"accelerator": "huawei-Ascend910", "accelerator-type": "module-910b-8", "host-arch": "huawei-x86"}


def cgroup(node: Node) -> str:
    """Returns the cgroup that a node's Pods are in."""
    return f"{cgroups.ROOT}/{node.name}"


def prepare(settings: Settings, node: Node, authority: Authority, server: str) -> None:
    """Writes a node's files and mounts them where its programs look; its machine is up."""
    files = settings.state / node.name
    for folder in ("etc", "log", "cni-cache", "kubelet"):
        (files / folder).mkdir(parents=True)
    store = settings.image_store(node)
    store.mkdir(parents=True, exist_ok=True)
    node.run.mkdir(parents=True)
    Path("/var/lib/cni").mkdir(exist_ok=True)  # where the network plugins' library keeps its results, always
    identity = authority.issue(
        node.name, f"/O=system:nodes/CN=system:node:{node.name}", f"IP:{node.address},DNS:{node.name}"
    )
    kubeconfig = authority.kubeconfig(f"{node.name}-kubelet", f"/O=system:nodes/CN=system:node:{node.name}", server)
    etc = files / "etc"
    for source, name in (
        (identity.certificate, "kubelet.crt"),
        (identity.key, "kubelet.key"),
        (authority.root.certificate, "ca.crt"),
        (kubeconfig, "kubelet.kubeconfig"),
        (authority.folder / "proxy.kubeconfig", "proxy.kubeconfig"),
    ):
        (etc / name).write_bytes(source.read_bytes())
    (etc / "resolv.conf").write_text("nameserver 127.0.0.1\n")  # for Pods that want the node's DNS: there is none
    (etc / "kubelet.yaml").write_text(json.dumps(kubelet_configuration(settings, node), indent=1))
    (etc / "containerd.toml").write_text(containerd_configuration())
    (etc / "net.d").mkdir()
    (etc / "net.d/10-npu-distill.conflist").write_text(json.dumps(network_configuration(node), indent=1))
    mounts = (
        (node.run, "/run"),
        (files, "/run/node"),
        (store, "/run/store"),
        (files / "log", "/var/log"),
        (files / "cni-cache", "/var/lib/cni"),
    )
    for source, target in mounts:
        run_within(node.name, ["mkdir", "-p", target])
        run_within(node.name, ["mount", "--no-mtab", "--bind", str(source), target])


def containerd(node: Node) -> Program:
    return Program(f"{node.name}-containerd", ("containerd", "--config", "/run/node/etc/containerd.toml"))


def agents(node: Node, settings: Settings) -> tuple[Program, ...]:
    """Returns the node's programs that talk to the API server."""
    kubelet = (
        "kubelet",
        "--config=/run/node/etc/kubelet.yaml",
        "--kubeconfig=/run/node/etc/kubelet.kubeconfig",
        "--root-dir=/run/node/kubelet",
        "--cert-dir=/run/node/kubelet/pki",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
        f"--node-labels={','.join(f'{name}={value}' for name, value in LABELS.items())}",
    )
    proxy = (
        "kube-proxy",
        "--kubeconfig=/run/node/etc/proxy.kubeconfig",
        "--proxy-mode=iptables",
        f"--hostname-override={node.name}",
        f"--cluster-cidr={settings.pods}",
        "--healthz-bind-address=127.0.0.1:10256",
        "--metrics-bind-address=127.0.0.1:10249",
        # These three are the whole machine's to set, not a namespace's.
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0s",
        "--conntrack-tcp-timeout-close-wait=0s",
    )
    return (Program(f"{node.name}-kubelet", kubelet), Program(f"{node.name}-kube-proxy", proxy))


def containerd_configuration() -> str:
    """Returns containerd's configuration, in the version that 1.6, 1.7 and 2 read."""
    return f"""\
version = 2
root = "/run/store"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "{CONTAINERD}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  stream_server_address = "127.0.0.1"
  # A root without CAP_SYS_RESOURCE, as in many virtual machines, may not protect a Pod from the OOM killer;
  # runc ends with an error when it is told to.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{NETWORK_PLUGINS}"
    conf_dir = "/run/node/etc/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
"""


def kubelet_configuration(settings: Settings, node: Node) -> dict[str, Any]:
    """Returns the kubelet's configuration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": str(node.address),
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": "/run/node/etc/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": "/run/node/etc/kubelet.crt",
        "tlsPrivateKeyFile": "/run/node/etc/kubelet.key",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup(node),
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [str(settings.control_plane)],
        "clusterDomain": DOMAIN,
        "resolvConf": "/run/node/etc/resolv.conf",
        "podLogsDir": "/var/log/pods",
        "volumePluginDir": "/run/node/kubelet/volume-plugins",
        "maxPods": 200,
        # The disk is the machine's: the nodes neither evict Pods nor delete images for what else fills it.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    }


def network_configuration(node: Node) -> dict[str, Any]:
    """Returns how Pods are connected: point to point, so that a Service also reaches a Pod beside its caller."""
    addresses = {
        "type": "host-local",
        "dataDir": "/run/cni-addresses",
        "ranges": [[{"subnet": str(node.pods)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {
        "cniVersion": "0.4.0",
        "name": "npu-distill",
        "plugins": [
            {"type": "ptp", "ipMasq": False, "ipam": addresses},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def install_npus(api: Api, node: Node) -> None:
    """Gives a registered node its NPUs: extended resources that the scheduler counts and no driver backs."""
    api.merge(f"/api/v1/nodes/{node.name}/status", {"status": {"capacity": {NPU: str(NPUS)}}})


def registered(api: Api, node: Node) -> bool:
    return any(item["metadata"]["name"] == node.name for item in api.get("/api/v1/nodes")["items"])


def ready(api: Api, node: Node) -> bool:
    """Tells if a node is Ready and its NPUs can be asked for."""
    status = api.get(f"/api/v1/nodes/{node.name}")["status"]
    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
    return conditions.get("Ready") == "True" and status["allocatable"].get(NPU) == str(NPUS)

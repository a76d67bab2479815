"""A control plane for one measurement: etcd and the API server of the local cluster, and nothing else.

No controllers, so that no Job gets Pods and nothing touches what a measurement has put there; no nodes. It takes the
addresses of the local cluster for itself, so it has to be in a network namespace of its own, see `isolated`: there it
disturbs no cluster that is up, no packet gets out, and an address of a Pod is one that never answers. What it starts
ends with the namespace; what it stored is in a folder that is removed.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import control_plane as local_cluster
from tests.cluster.api import Api
from tests.cluster.errors import run
from tests.cluster.pki import Authority
from tests.cluster.processes import Program, wait_until
from tests.cluster.settings import SYSTEM_PATH, Settings, read_settings

NAMESPACE = "bench"
# unshare shrugs off SIGTERM, so that the end of whoever has started it must be SIGKILL to it.
_ISOLATE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--pid", "--mount-proc", "--fork", "--kill-child")
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_READY_SECONDS = 90.0


@dataclass(frozen=True)
class Write:
    """One write that the API server has answered.

    `resource` is such as `jobs` or `distilldatasets/status`; `received_at` and `answered_at` are Unix times.
    """

    user: str
    verb: str
    resource: str
    name: str
    code: int
    received_at: float
    answered_at: float


@dataclass(frozen=True)
class ControlPlane:
    """A control plane that is up.

    Attributes:
        settings: those of the local cluster, with a state folder of this control plane's own.
        environment: of a program that runs here.
    """

    settings: Settings
    authority: Authority
    environment: dict[str, str]

    @property
    def server(self) -> str:
        """URL of the API server."""
        return local_cluster.server(self.settings)

    @property
    def folder(self) -> Path:
        """Where programs may keep what they need until the control plane ends."""
        return self.settings.state

    def start(self, program: Program, **variables: str) -> "subprocess.Popen[bytes]":
        """Start a program; its output goes to a log named after it."""
        with self.log(program.name).open("wb") as log:
            return subprocess.Popen(
                program.command, env={**self.environment, **variables}, cwd=self.folder, stdout=log, stderr=log
            )

    def log(self, name: str) -> Path:
        """Give the log of a program."""
        return self.folder / f"{name}.log"

    def user(self, name: str) -> Path:
        """Give the kubeconfig of a new user who may do everything.

        It is nobody of `system:masters`, whom the API server does not make wait as it does others.
        """
        return self.authority.kubeconfig(name, f"/CN={name}", self.server)

    def install(self, definitions: Sequence[Path]) -> None:
        """Install CustomResourceDefinitions and wait until they are served."""
        api = Api(self.authority.folder / "admin.kubeconfig")
        manifests = [yaml.safe_load(path.read_text()) for path in definitions]
        places = [f"{_DEFINITIONS}/{manifest['metadata']['name']}" for manifest in manifests]
        for place, manifest in zip(places, manifests, strict=True):
            api.apply(place, manifest)

        def served() -> bool:
            conditions = [api.get(place)["status"]["conditions"] or () for place in places]
            return all(any(_is_established(one) for one in each) for each in conditions)

        wait_until("the custom resources to be served", served, seconds=_READY_SECONDS)

    def writes(self, user: str, since: float = 0.0) -> list[Write]:
        """Give the writes of a user, as the API server has logged them, in the order of its answers."""
        lines = (self.folder / "audit.log").read_text().splitlines()
        writes = (_read_write(json.loads(line)) for line in lines)
        return [write for write in writes if write.user == user and write.received_at >= since]

    def silent_address(self, number: int) -> IPv4Address:
        """Give a Pod's address that takes every packet and answers none, as behind a network policy."""
        return self.settings.pods[1 + number]


def isolated(module: str, *arguments: str) -> Any:
    """Run a module in network, process and mount namespaces of its own; gives the JSON that it prints.

    When it ends, or this process does, however that comes, the kernel kills all that it has started.
    """
    command = [*_ISOLATE, sys.executable, "-m", module, *arguments]
    with tempfile.TemporaryDirectory(prefix="npu-distill-bench-") as folder:  # what is killed cannot clear up
        environment = {**os.environ, "TMPDIR": folder}
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout)


@contextmanager
def control_plane() -> Iterator[ControlPlane]:
    """Start etcd and the API server, whose log of writes is kept."""
    own = read_settings()
    with tempfile.TemporaryDirectory() as folder:
        settings = replace(own, cache=Path(folder))
        settings.state.mkdir()
        authority = Authority(settings.state / "pki")
        authority.create()
        local_cluster.prepare(settings, authority)
        environment = {"PATH": f"{own.programs}:{SYSTEM_PATH}", "HOME": folder}
        plane = ControlPlane(settings, authority, environment)
        run(["ip", "-batch", "-"], text=_network(settings))
        etcd = plane.start(local_cluster.store(settings))
        server = plane.start(_api_server(plane))
        try:
            watched = {plane.log("etcd"): etcd, plane.log("kube-apiserver"): server}
            api = Api(authority.folder / "admin.kubeconfig")
            wait_until("the API server", api.ready, seconds=_READY_SECONDS, watched=watched)
            _furnish(api)
            yield plane
        finally:
            for process in (server, etcd):
                process.kill()
                process.wait()
            run(["ip", "link", "delete", "cluster"])


def _network(settings: Settings) -> str:
    """Give the `ip` commands for the addresses of the machines and of Pods: a bridge that leads nowhere.

    Without ARP a packet to an address that nobody has is sent, and lost; with it the kernel would say after a while
    that there is no such host.
    """
    return "\n".join(
        [
            "link set lo up",
            "link add cluster type bridge",
            f"address add {settings.control_plane}/{settings.network.prefixlen} dev cluster",
            "link set cluster arp off up",
        ]
    )


def _api_server(plane: ControlPlane) -> Program:
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "verbs": ["get", "list", "watch"]},
            {"level": "None", "userGroups": ["system:masters"]},
            {"level": "Metadata"},
        ],
    }
    (plane.folder / "audit-policy.json").write_text(json.dumps(policy))
    audit = (f"--audit-policy-file={plane.folder}/audit-policy.json", f"--audit-log-path={plane.folder}/audit.log")
    program = local_cluster.api_server(plane.settings, plane.authority.folder)
    return Program(program.name, (*program.command, *audit))


def _furnish(api: Api) -> None:
    """Apply what controllers would have made, and let every user do everything."""
    place = f"/api/v1/namespaces/{NAMESPACE}"
    api.apply(place, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    api.apply(f"{place}/serviceaccounts/default", account)
    group = "rbac.authorization.k8s.io"
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "everybody"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": group, "kind": "Group", "name": "system:authenticated"}],
    }
    api.apply(f"/apis/{group}/v1/clusterrolebindings/everybody", binding)


def _is_established(condition: Mapping[str, str]) -> bool:
    return (condition["type"], condition["status"]) == ("Established", "True")


def _read_write(event: dict[str, Any]) -> Write:
    place = event.get("objectRef", {})
    resource, subresource = place.get("resource", ""), place.get("subresource")
    return Write(
        user=event["user"]["username"],
        verb=event["verb"],
        resource=f"{resource}/{subresource}" if subresource else resource,
        name=place.get("name", ""),
        code=event["responseStatus"]["code"],
        received_at=datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(),
        answered_at=datetime.fromisoformat(event["stageTimestamp"]).timestamp(),
    )

"""The control plane: etcd, the API server, the controllers, the scheduler, DNS and the volumes' provisioner."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .api import Api
from .pki import Authority
from .processes import Program
from .settings import API_PORT, NAME, Settings

ETCD = "http://127.0.0.1:2379"
DOMAIN = "cluster.local"
STORAGE_CLASS = "shared"
PROVISIONER = f"{NAME}/{STORAGE_CLASS}"


def server(settings: Settings) -> str:
    return f"https://{settings.control_plane}:{API_PORT}"


def prepare(settings: Settings, authority: Authority) -> dict[str, Path]:
    """Makes the keys of the control plane and returns its kubeconfigs by user; the administrator's is `admin`."""
    names = ",".join(
        [
            *(f"IP:{address}" for address in (settings.control_plane, settings.services[1], "127.0.0.1")),
            *(f"DNS:kubernetes{rest}" for rest in ("", ".default", ".default.svc", f".default.svc.{DOMAIN}")),
        ]
    )
    authority.issue("apiserver", "/CN=kube-apiserver", names)
    authority.issue("apiserver-kubelet-client", "/O=system:masters/CN=apiserver-kubelet-client")
    authority.issue("front-proxy", "/CN=front-proxy")
    authority.issue("service-accounts", "/CN=service-accounts")
    users = {
        "admin": "/O=system:masters/CN=admin",
        "controller-manager": "/CN=system:kube-controller-manager",
        "scheduler": "/CN=system:kube-scheduler",
        "proxy": "/CN=system:kube-proxy",
    }
    (settings.state / "Corefile").write_text(corefile(settings, authority.folder / "admin.kubeconfig"))
    return {user: authority.kubeconfig(user, subject, server(settings)) for user, subject in users.items()}


def store(settings: Settings) -> Program:
    """Returns etcd. What it holds ends with the cluster: it need not wait for the disk."""
    listen = (
        "--listen-client-urls",
        ETCD,
        "--advertise-client-urls",
        ETCD,
        "--listen-peer-urls",
        "http://127.0.0.1:2380",
    )
    return Program("etcd", ("etcd", "--data-dir", str(settings.state / "etcd"), "--unsafe-no-fsync", *listen))


def api_server(settings: Settings, pki: Path) -> Program:
    """Returns the API server, with the admission plugins that are on by default, Pod Security among them."""
    flags = {
        "etcd-servers": ETCD,
        "bind-address": settings.control_plane,
        "advertise-address": settings.control_plane,
        "secure-port": API_PORT,
        "service-cluster-ip-range": settings.services,
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "client-ca-file": pki / "ca.crt",
        "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-client-certificate": pki / "apiserver-kubelet-client.crt",
        "kubelet-client-key": pki / "apiserver-kubelet-client.key",
        # A node's name is in no DNS that the API server asks.
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": f"https://kubernetes.default.svc.{DOMAIN}",
        "service-account-key-file": pki / "service-accounts.crt",
        "service-account-signing-key-file": pki / "service-accounts.key",
        "authorization-mode": "Node,RBAC",
        "requestheader-client-ca-file": pki / "ca.crt",
        "requestheader-allowed-names": "front-proxy",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-username-headers": "X-Remote-User",
        "proxy-client-cert-file": pki / "front-proxy.crt",
        "proxy-client-key-file": pki / "front-proxy.key",
        # No kube-proxy runs here: webhooks and aggregated APIs are reached at their Pods' addresses.
        "enable-aggregator-routing": "true",
        "allow-privileged": "true",
    }
    return _program("kube-apiserver", flags)


def managers(settings: Settings, authority: Authority, kubeconfigs: Mapping[str, Path]) -> tuple[Program, ...]:
    """Returns what runs beside the API server once it is ready."""
    pki = authority.folder

    def identity(user: str) -> dict[str, object]:
        flags = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        return dict.fromkeys(flags, kubeconfigs[user]) | {"bind-address": "127.0.0.1", "leader-elect": "false"}

    controller_manager = identity("controller-manager") | {
        "service-account-private-key-file": pki / "service-accounts.key",
        "root-ca-file": authority.root.certificate,
        "cluster-signing-cert-file": authority.root.certificate,
        "cluster-signing-key-file": authority.root.key,
        "use-service-account-credentials": "true",
    }
    provisioner = {"kubeconfig": kubeconfigs["admin"], "name": PROVISIONER, "root": settings.volumes}
    return (
        _program("kube-controller-manager", controller_manager),
        _program("kube-scheduler", identity("scheduler")),
        _program("provisioner", provisioner),
        Program("coredns", ("coredns", "-conf", str(settings.state / "Corefile"))),
    )


def corefile(settings: Settings, kubeconfig: Path) -> str:
    """Returns CoreDNS's configuration: names of the cluster, and of nothing else."""
    return f"""\
.:53 {{
    bind {settings.control_plane}
    errors
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 5
    }}
    cache 5
}}
"""


def storage_class() -> dict[str, Any]:
    """Returns the default storage class, whose volumes all nodes share."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
    }


def furnish(api: Api) -> None:
    """Applies what every cluster has that the API server does not make by itself."""
    api.apply(f"/apis/storage.k8s.io/v1/storageclasses/{STORAGE_CLASS}", storage_class())


def usable(api: Api) -> bool:
    """Tells if Pods can be made in the namespace `default`: the controllers have given it its service account."""
    return bool(api.get("/api/v1/namespaces/default/serviceaccounts")["items"])


def _program(name: str, flags: Mapping[str, object]) -> Program:
    return Program(name, (name, *(f"--{flag}={value}" for flag, value in flags.items())))

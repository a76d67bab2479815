"""What the local cluster needs of this machine, installed where that is possible and named where it is not."""

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from .errors import ClusterError, run
from .nodes import NETWORK_PLUGINS
from .settings import SYSTEM_PATH

GO_VERSION = (1, 26)
GO_PATH = f"{os.environ.get('PATH', '')}:/usr/local/go/bin:{SYSTEM_PATH}"

# The programs and files that are used, by the Debian package that has them.
CLUSTER_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "containerd": ("containerd", "ctr"),
    "runc": ("runc",),
    "etcd-server": ("etcd",),
    "iptables": ("iptables",),
    "iproute2": ("ip",),
    "conntrack": ("conntrack",),
    "containernetworking-plugins": (f"{NETWORK_PLUGINS}/ptp", f"{NETWORK_PLUGINS}/portmap"),
    "openssl": ("openssl",),
    "util-linux": ("nsenter", "unshare"),
    "mount": ("mount",),
}
IMAGE_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "buildah": ("buildah",),
    "skopeo": ("skopeo",),
    "mmdebstrap": ("mmdebstrap",),
    "debian-archive-keyring": ("/usr/share/keyrings/debian-archive-keyring.gpg",),
}


def on_this_machine(program: str) -> bool:
    """Tells if a program is on the system's path, or a file, given by its whole path, exists."""
    return shutil.which(program, path=SYSTEM_PATH) is not None


def file_or_program(name: str) -> bool:
    return Path(name).exists() if name.startswith("/") else on_this_machine(name)


def missing(
    packages: Mapping[str, Iterable[str]], present: Callable[[str], bool] = file_or_program
) -> dict[str, list[str]]:
    """Returns the packages of which something is missing, each with what is."""
    lacking = {package: [name for name in names if not present(name)] for package, names in packages.items()}
    return {package: names for package, names in lacking.items() if names}


def refusal(lacking: Mapping[str, Iterable[str]]) -> str:
    """Says what is missing and how to install it."""
    lines = [f"  {', '.join(names)} (Debian package {package})" for package, names in lacking.items()]
    command = f"apt-get install --no-install-recommends {' '.join(lacking)}"
    return "\n".join(
        [
            "the local cluster needs what this machine does not have:",
            *lines,
            f"on Debian or Ubuntu: {command}",
            "elsewhere: install the same programs in your way, or use a cluster of your own with CLUSTER=current",
        ]
    )


def check_machine(platform: str = sys.platform, user: int | None = None) -> None:
    """Raises ClusterError where the local cluster cannot run at all."""
    remedy = "use a cluster of your own instead, the current context of your kubeconfig, with CLUSTER=current"
    if platform != "linux":
        raise ClusterError(f"the local cluster is made of Linux namespaces and this is {platform}: {remedy}")
    if (os.geteuid() if user is None else user) != 0:
        raise ClusterError(f"the local cluster makes network namespaces and mounts: run this as root, or {remedy}")


def install(packages: Mapping[str, Iterable[str]], say: Callable[[str], None]) -> None:
    """Installs what is missing by apt-get; raises ClusterError where there is no apt-get or it fails."""
    lacking = missing(packages)
    if not lacking:
        return
    if not on_this_machine("apt-get"):
        raise ClusterError(refusal(lacking))
    say(f"installing {' '.join(lacking)} by apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(["apt-get", "update", "-qq"], environment=environment)
        run(["apt-get", "install", "-qq", "--no-install-recommends", *lacking], environment=environment)
    except ClusterError as error:
        raise ClusterError(f"{error}\n{refusal(lacking)}") from error


def go_program() -> str:
    """Returns where Go is; raises ClusterError when there is none or it is too old for the modules that are built."""
    wanted = ".".join(map(str, GO_VERSION))
    program = shutil.which("go", path=GO_PATH)
    if program is None:
        raise ClusterError(
            f"the local cluster is built by Go {wanted} or later, and there is no `go` on PATH or in /usr/local/go/bin:"
            " install it from https://go.dev/dl"
        )
    found = run([program, "env", "GOVERSION"]).strip()
    version = re.match(r"go(\d+)\.(\d+)", found)
    if version is None or (int(version[1]), int(version[2])) < GO_VERSION:
        raise ClusterError(f"{program} is {found}: Go {wanted} or later is needed, from https://go.dev/dl")
    return program

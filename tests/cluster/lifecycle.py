"""Bringing the cluster up, telling how it is, and taking it down until nothing is left."""

import contextlib
import fcntl
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from . import cgroups, control_plane, network, nodes
from .api import Api
from .build import build, signs_of_life
from .errors import ClusterError, run
from .images import PREFIX
from .nodes import PAUSE
from .oci import Containerd, Image, Layout
from .pki import Authority
from .prerequisites import CLUSTER_PACKAGES, check_machine, install
from .processes import log_of, running, start, start_machine, wait_until
from .settings import RUN, Node, Settings

Say = Callable[[str], None]


def up(settings: Settings, say: Say) -> None:
    """Brings the cluster up, with all its programs built; says so and does nothing when it is up already."""
    check_machine()
    install(CLUSTER_PACKAGES, say)
    with alone(settings):
        build(settings, say)
        if running():
            _explain(settings)
            say(f"the cluster is up already: export KUBECONFIG={settings.kubeconfig}")
            return
        if taken := network.clash(settings, run(["ip", "-4", "route"])):
            raise ClusterError(
                f"this machine uses addresses of {settings.network} already (`{taken}`):"
                " give another private /16 as NPU_DISTILL_NETWORK"
            )
        try:
            _start(settings, say)
        except BaseException:
            say("bringing the cluster up failed: taking down what there is; the logs stay")
            _take_down(settings)
            raise


def down(settings: Settings, say: Say) -> None:
    """Takes down whatever there is of a cluster, however far it came; the programs, images and logs stay."""
    check_machine()
    with alone(settings):
        ended = _take_down(settings)
        say(f"the cluster is down ({ended} processes ended)" if ended else "no cluster was up")


def _start(settings: Settings, say: Say) -> None:
    say("starting the machines")
    shutil.rmtree(settings.state, ignore_errors=True)
    settings.logs.mkdir(parents=True)
    settings.volumes.mkdir()
    # A Pod's user must get through to the volume that is mounted for it.
    settings.state.chmod(0o755)
    for node in settings.nodes:
        cgroups.create(nodes.cgroup(node))
    for machine in (network.CONTROL_PLANE, *(node.name for node in settings.nodes)):
        start_machine(settings, machine)
    network.connect(settings)

    say("starting the control plane")
    authority = Authority(settings.state / "pki")
    authority.create()
    kubeconfigs = control_plane.prepare(settings, authority)
    etcd = start(settings, control_plane.store(settings), network.CONTROL_PLANE)
    server = start(settings, control_plane.api_server(settings, authority.folder), network.CONTROL_PLANE)
    _start_containerds(settings, authority)
    api = Api(kubeconfigs["admin"])
    watched = {log_of(settings, "etcd"): etcd, log_of(settings, "kube-apiserver"): server}
    wait_until("the API server", api.ready, seconds=90, watched=watched)
    for program in control_plane.managers(settings, authority, kubeconfigs):
        start(settings, program, network.CONTROL_PLANE)
    control_plane.furnish(api)

    say("starting the nodes")
    for node in settings.nodes:
        kubelets = {
            log_of(settings, program.name): start(settings, program, node.name)
            for program in nodes.agents(node, settings)
        }
        wait_until(f"{node.name}", lambda: nodes.registered(api, node), seconds=60, watched=kubelets)  # noqa: B023
        nodes.install_npus(api, node)
    for node in settings.nodes:
        wait_until(f"{node.name} to be Ready", lambda: nodes.ready(api, node), seconds=60)  # noqa: B023
    wait_until("the service account of the namespace default", lambda: control_plane.usable(api), seconds=60)
    shutil.copy(kubeconfigs["admin"], settings.kubeconfig)
    say(f"the cluster is up: export KUBECONFIG={settings.kubeconfig} PATH={settings.programs}:$PATH")


def _start_containerds(settings: Settings, authority: Authority) -> None:
    started = {}
    for node in settings.nodes:
        nodes.prepare(settings, node, authority, control_plane.server(settings))
        program = nodes.containerd(node)
        started[node] = {log_of(settings, program.name): start(settings, program, node.name)}
    layout = Layout(settings.image_layout)
    pause = layout.add_program(PAUSE, settings.programs / "pause")
    for node, watched in started.items():
        wait_until(f"containerd of {node.name}", lambda: _answers(node), seconds=30, watched=watched)  # noqa: B023
        containerd = Containerd(node.containerd_socket)
        containerd.load(layout, [pause])
        # Now, while no Pod runs: what the cluster before left, and images of earlier code, which only fill the disk.
        containerd.remove_containers()
        current = {image.name for image in layout.images()}
        containerd.remove([name for name in containerd.images() if name.startswith(PREFIX) and name not in current])


def _answers(node: Node) -> bool:
    if not node.containerd_socket.exists():
        return False
    try:
        Containerd(node.containerd_socket).images()
    except ClusterError:
        return False
    return True


def load(settings: Settings, images: list[Image], say: Say) -> None:
    """Loads images into the nodes that are up, as far as they are not there yet."""
    layout = Layout(settings.image_layout)
    for node in settings.nodes:
        if not node.containerd_socket.exists():
            raise ClusterError("no cluster is up to load images into: run `make cluster-up`")
        with signs_of_life(f"loading images into {node.name}", say):
            loaded = Containerd(node.containerd_socket).load(layout, images)
        names = ", ".join(image.name for image in loaded) or "has every image already"
        say(f"{node.name}: {names}")


def _take_down(settings: Settings) -> int:
    ended = cgroups.end()
    network.disconnect()
    for path in settings.state.glob("*") if settings.state.exists() else ():
        if path != settings.logs:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if RUN.exists():
        shutil.rmtree(RUN)
    with contextlib.suppress(OSError):  # somebody else's results are in it, or it never was
        Path("/var/lib/cni").rmdir()
    return ended


def _explain(settings: Settings) -> None:
    """Raises ClusterError when the cluster that is up is broken or belongs to another cache folder."""
    if not settings.kubeconfig.exists():
        raise ClusterError(
            f"a cluster that is not of {settings.cache} is up, or one was left half started: run `make cluster-down`"
        )
    ended = [program.name for program in running() if not program.processes]
    if ended:
        logs = ", ".join(str(log_of(settings, name)) for name in ended)
        raise ClusterError(
            f"the cluster is broken: {', '.join(ended)} ended (see {logs}); `make cluster-down`, then `make cluster-up`"
        )
    wait_until("the API server of the cluster that is up", Api(settings.kubeconfig).ready, seconds=10)


@contextlib.contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Keeps two commands from changing the cluster or the cache at the same time: the later one waits."""
    settings.cache.mkdir(parents=True, exist_ok=True)
    with locked(settings.cache / "lock"):
        yield


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps others from the same block: they wait."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

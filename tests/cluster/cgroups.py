"""Control groups: how the cluster knows its processes, and ends them.

Everything the cluster starts, and everything those processes start, Pods and containerd's shims included, lives in
cgroups under /npu-distill of every hierarchy. What is in there is ours; nothing else is. A name or a remembered number
could be somebody else's. Works with cgroup v1, v2 and both at once.
"""

import contextlib
import os
import signal
import time
from functools import cache
from pathlib import Path

from .errors import ClusterError
from .settings import NAME

ROOT = f"/{NAME}"


def parse_hierarchies(mountinfo: str) -> tuple[Path, ...]:
    """Returns the mount points of the cgroup hierarchies in the text of /proc/self/mountinfo."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after.split(" ", 1)[0] in ("cgroup", "cgroup2"):
            found.append(Path(before.split(" ")[4]))
    return tuple(found)


@cache
def hierarchies() -> tuple[Path, ...]:
    """Returns the mount points of this machine's cgroup hierarchies."""
    found = parse_hierarchies(Path("/proc/self/mountinfo").read_text())
    if not found:
        raise ClusterError("no cgroup file system is mounted: Kubernetes needs one, usually at /sys/fs/cgroup")
    return found


def folders(group: str) -> tuple[Path, ...]:
    """Returns a cgroup's folder in every hierarchy. A group's name is its path: `/npu-distill/system/etcd`."""
    return tuple(hierarchy / group.lstrip("/") for hierarchy in hierarchies())


def create(group: str) -> None:
    """Creates a cgroup and its parents in every hierarchy, usable for processes and for groups below it."""
    for hierarchy in hierarchies():
        parent = hierarchy
        for part in Path(group.lstrip("/")).parts:
            _pass_controllers_on(parent)
            folder = parent / part
            folder.mkdir(exist_ok=True)
            _fill_cpuset(folder)
            parent = folder


def _pass_controllers_on(parent: Path) -> None:
    available = parent / "cgroup.controllers"
    if available.exists():  # cgroup v2
        wanted = " ".join(f"+{controller}" for controller in available.read_text().split())
        if wanted:
            (parent / "cgroup.subtree_control").write_text(wanted)


def _fill_cpuset(folder: Path) -> None:
    # A new cpuset of v1 is empty, and then takes no process and lets the kubelet make no Pod.
    for name in ("cpuset.cpus", "cpuset.mems"):
        ours = folder / name
        if ours.exists() and not (folder / "cgroup.controllers").exists() and not ours.read_text().strip():
            ours.write_text((folder.parent / name).read_text())


def processes(group: str = ROOT) -> frozenset[int]:
    """Returns the numbers of the processes in a cgroup and in those below it."""
    found: set[int] = set()
    for folder in folders(group):
        for inner, _, _ in os.walk(folder):
            with contextlib.suppress(FileNotFoundError):  # a cgroup may go at any moment
                found.update(map(int, (Path(inner) / "cgroup.procs").read_text().split()))
    return frozenset(found - {0})


def end(group: str = ROOT, *, patience: float = 20.0) -> int:
    """Kills every process in a cgroup, removes the cgroup, and returns how many processes there were.

    Raises ClusterError when processes or cgroups are left after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    ended: set[int] = set()
    while members := processes(group):  # one may have forked while we looked
        for process in members:
            _kill(process, group)
        ended |= members
        if time.monotonic() > deadline:
            raise ClusterError(f"these processes of cgroup {group} do not end: {sorted(members)}; see /proc/PID/stack")
        time.sleep(0.02)
    while left := _remove(group):
        if time.monotonic() > deadline:
            raise ClusterError(f"these cgroups cannot be removed: {', '.join(map(str, left))}")
        time.sleep(0.05)
    return len(ended)


def _kill(process: int, group: str) -> None:
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        # The number may have gone to somebody else since it was read; the handle holds it while we look again.
        memberships = Path(f"/proc/{process}/cgroup").read_text().splitlines()
        if any(f"{line.split(':', 2)[2]}/".startswith(f"{group}/") for line in memberships):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError):
        return
    finally:
        os.close(handle)


def _remove(group: str) -> list[Path]:
    left = []
    for folder in folders(group):
        for inner, _, _ in os.walk(folder, topdown=False):
            try:
                Path(inner).rmdir()
            except FileNotFoundError:
                continue
            except OSError:  # EBUSY for a moment after the last process has gone
                left.append(Path(inner))
    return left

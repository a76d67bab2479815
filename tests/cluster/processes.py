"""Starting the cluster's processes: each in a cgroup named after it, in the namespaces of a machine of the cluster.

A machine (the control plane's or a node's) is one sleeping process that holds the namespaces. There is nothing to
unmount and no link to delete: when its processes are gone, the kernel takes namespaces, mounts and links away.
"""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import cgroups
from .errors import ClusterError, run
from .settings import SYSTEM_PATH, Settings

SYSTEM = f"{cgroups.ROOT}/system"
# A shell joins the cgroups and becomes the program: `0` in cgroup.procs means whoever writes it.
JOIN = 'for procs in $CGROUP_PROCS; do echo 0 > "$procs" || exit 1; done; unset CGROUP_PROCS; exec "$@"'


@dataclass(frozen=True)
class Program:
    """What to run: a name that no other program of the cluster has, and a command."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Running:
    """A program of the cluster, by its own cgroup: its processes and what it runs on the machine."""

    name: str
    processes: frozenset[int]
    resident_bytes: int


def start(settings: Settings, program: Program, machine: str | None = None) -> subprocess.Popen[bytes]:
    """Starts a program on a machine (on this host without one); its output goes to a log named after it."""
    group = f"{SYSTEM}/{program.name}"
    cgroups.create(group)
    enter = within(machine) if machine else ()
    environment = {
        "PATH": f"{settings.programs}:{SYSTEM_PATH}",
        "HOME": str(settings.state),
        "CGROUP_PROCS": " ".join(str(folder / "cgroup.procs") for folder in cgroups.folders(group)),
    }
    with log_of(settings, program.name).open("ab") as log:
        return subprocess.Popen(
            ["sh", "-c", JOIN, program.name, *enter, *program.command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd="/",
            start_new_session=True,
        )


def start_machine(settings: Settings, name: str) -> None:
    """Starts a machine: a network and a mount namespace, and the process that holds them."""
    hold = ("unshare", "--net", "--mount", "--propagation", "private", "sleep", "infinity")
    start(settings, Program(name, hold))

    def separated() -> bool:  # it becomes `sleep` once its namespaces are made
        members = cgroups.processes(f"{SYSTEM}/{name}")
        return any(Path(f"/proc/{member}/comm").read_text() == "sleep\n" for member in members)

    wait_until(f"the namespaces of {name}", separated, seconds=10)


def holder(machine: str) -> int:
    """Returns the process that holds a machine's namespaces; raises ClusterError if the machine is not up."""
    members = cgroups.processes(f"{SYSTEM}/{machine}")
    if len(members) != 1:
        raise ClusterError(f"{machine} is not up: run `make cluster-down`, then `make cluster-up`")
    return next(iter(members))


def within(machine: str) -> tuple[str, ...]:
    """Returns the words to put before a command so that it runs on a machine of the cluster."""
    return ("nsenter", "--target", str(holder(machine)), "--net", "--mount", "--")


def run_within(machine: str, command: Sequence[str], *, text: str | None = None) -> str:
    """Runs a command on a machine to its end and returns its stdout."""
    return run([*within(machine), *command], text=text, environment={"PATH": SYSTEM_PATH})


def running() -> tuple[Running, ...]:
    """Returns every program that was started and whose cgroup still exists, with no processes if it has ended."""
    names = sorted({entry.name for folder in cgroups.folders(SYSTEM) for entry in folder.glob("*/")})
    found = []
    for name in names:
        members = cgroups.processes(f"{SYSTEM}/{name}")
        found.append(Running(name, members, sum(map(resident_bytes, members))))
    return tuple(found)


def resident_bytes(process: int) -> int:
    """Returns the resident memory of a process in bytes, 0 if it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096
    except (FileNotFoundError, ProcessLookupError):
        return 0


def log_of(settings: Settings, name: str) -> Path:
    return settings.logs / f"{name}.log"


def wait_until(
    what: str,
    condition: Callable[[], bool],
    *,
    seconds: float,
    watched: Mapping[Path, subprocess.Popen[bytes]] | None = None,
) -> None:
    """Waits until `condition` holds; raises ClusterError after `seconds` or when a `watched` process, by log, ends."""
    deadline = time.monotonic() + seconds
    while not condition():
        for log, process in (watched or {}).items():
            if process.poll() is not None:
                raise ClusterError(f"{log.stem} ended while waiting for {what}; the end of {log}:\n{tail(log)}")
        if time.monotonic() > deadline:
            logs = "".join(f"\nthe end of {log}:\n{tail(log)}" for log in watched or {})
            raise ClusterError(f"{what}: not there after {seconds:.0f} s{logs}")
        time.sleep(0.05)


def tail(log: Path, lines: int = 8) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

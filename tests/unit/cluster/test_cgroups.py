"""On this machine's own cgroups where a test may make some, which takes root."""

import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.cluster import cgroups

HYBRID = """\
23 20 0:21 / /proc rw,relatime - proc proc rw
30 24 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu
40 30 0:36 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 30 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
UNIFIED = "35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.mark.parametrize(
    ("mountinfo", "expected"),
    [
        (HYBRID, ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"]),
        (UNIFIED, ["/sys/fs/cgroup"]),
        ("23 20 0:21 / /proc rw,relatime - proc proc rw\n", []),
    ],
)
def test_hierarchies_are_found_in_mountinfo(mountinfo: str, expected: list[str]) -> None:
    assert [str(path) for path in cgroups.parse_hierarchies(mountinfo)] == expected


@pytest.fixture
def group() -> Iterator[str]:
    if os.geteuid() != 0:
        pytest.skip("making cgroups takes root")
    name = f"/npu-distill-test-{os.getpid()}"
    cgroups.create(f"{name}/inner")
    yield name
    cgroups.end(name)


def start_in(group: str, command: str) -> subprocess.Popen[bytes]:
    join = "".join(f'echo 0 > "{folder}/cgroup.procs"; ' for folder in cgroups.folders(group))
    return subprocess.Popen(["sh", "-c", f"{join}{command}"])


def test_ending_a_group_ends_what_its_processes_started_and_nothing_else(group: str) -> None:
    outside = subprocess.Popen(["sleep", "60"])
    # The sleeps have left their parent's session and lost their parent: only the cgroup still knows them.
    parent = start_in(f"{group}/inner", "setsid sleep 60 & setsid sleep 60 & exec true")
    parent.wait()
    while len(cgroups.processes(group)) != 2:
        time.sleep(0.01)
    try:
        assert cgroups.end(group) == 2
        assert cgroups.processes(group) == frozenset()
        assert not any(folder.exists() for folder in cgroups.folders(group))
        assert outside.poll() is None
    finally:
        outside.kill()
        outside.wait()


def test_a_program_that_forks_without_end_is_ended(group: str) -> None:
    # Each process replaces itself by a younger one, so that a list of numbers is out of date at once.
    start_in(f"{group}/inner", "f() { sleep 0.01; f & }; f").wait()
    assert cgroups.end(group) >= 1
    assert cgroups.processes(group) == frozenset()


def test_ending_a_group_that_is_not_there_does_nothing() -> None:
    assert cgroups.end("/npu-distill-test-never-made") == 0

"""How many processors this process may use: what the container's limit allows, not what the node has."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_QUOTA_FILES = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
"""Of cgroup v2 and v1: microseconds of processor time a period, and the period."""
_UNLIMITED = ("max", "-1")


def available_cpus(cgroup: Path = _CGROUP) -> int:
    """Count the usable processors, at least 1.

    Args:
        cgroup: directory of the container's control group.
    """
    return max(1, math.ceil(min(len(os.sched_getaffinity(0)), _quota(cgroup))))


def _quota(cgroup: Path) -> float:
    """Give the processors that the limit of their time comes to; infinity if there is none."""
    for names in _QUOTA_FILES:
        try:
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
        except FileNotFoundError:  # the other version, or the root of the hierarchy
            continue
        return math.inf if quota in _UNLIMITED else int(quota) / int(period)
    return math.inf

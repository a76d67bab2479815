"""How many processors this process may use: what the container's limit allows, not what the node has."""

import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cpus(quota_file: Path = _QUOTA) -> int:
    """Count the usable processors, at least 1.

    Args:
        quota_file: cgroup v2's `cpu.max`: microseconds of processor time a period, or `max`; and the period.
    """
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = quota_file.read_text().split()
    except FileNotFoundError:  # the root of the hierarchy, or cgroup v1, has none
        return count
    return count if quota == "max" else max(1, min(count, math.ceil(int(quota) / int(period))))

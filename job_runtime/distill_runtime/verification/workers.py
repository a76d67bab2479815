"""How many worker processes verify: one a processor, as far as the container's memory goes."""

from pathlib import Path

from distill_runtime.foundation.cpus import available_cpus

_CGROUP = Path("/sys/fs/cgroup")
_LIMIT_FILES = ("memory.max", "memory/memory.limit_in_bytes")
"""Of cgroup v2 and v1, whose number without a limit is larger than any memory."""
_WORKER_MEMORY = 100 << 20
"""Bytes that a worker may take for itself; a third of that was measured."""
_MOST = 16
"""So that the generations that are under way, `pool._WINDOW` a worker, take no more than some hundred megabytes."""


def verifier_workers() -> int:
    """Give the number for this container."""
    return count_workers(available_cpus(), memory_limit())


def count_workers(cpus: int, memory: int | None) -> int:
    """Give the number for so many processors, and bytes of memory if they are limited, of which workers get half."""
    most = _MOST if memory is None else min(_MOST, memory // 2 // _WORKER_MEMORY)
    return max(1, min(cpus, most))


def memory_limit(cgroup: Path = _CGROUP) -> int | None:
    """Give the bytes of memory that the container may use; None if that is not limited.

    Args:
        cgroup: directory of the container's control group.
    """
    for name in _LIMIT_FILES:
        try:
            limit = (cgroup / name).read_text().strip()
        except FileNotFoundError:  # the other version, or the root of the hierarchy
            continue
        return None if limit == "max" else int(limit)
    return None

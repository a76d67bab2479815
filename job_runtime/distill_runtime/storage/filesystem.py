"""What the file system below a volume says of itself."""

import os
from pathlib import Path
from typing import Final

_MOUNTS: Final = Path("/proc/self/mountinfo")
_OF_ONE_MACHINE: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "tmpfs"})
"""Kinds that two machines cannot have mounted at once without breaking them, unlike NFS, CephFS, Lustre or GPFS."""
_ESCAPED: Final = {r"\040": " ", r"\011": "\t", r"\012": "\n", r"\134": "\\"}


def free_bytes(directory: Path) -> int | None:
    """Give what may still be written to a directory's file system.

    None where it does not say so sensibly: some network and FUSE file systems report no size at all, or more free than
    they have.
    """
    figures = os.statvfs(directory)
    size, free = figures.f_blocks * figures.f_frsize, figures.f_bavail * figures.f_frsize
    return free if size > 0 and 0 <= free <= size else None


def local_kind(directory: Path, mounts: Path = _MOUNTS) -> str | None:
    """Name the kind of a directory's file system if it is one that a single machine has; None of any other.

    Args:
        mounts: a table of mounts (proc_pid_mountinfo(5)).
    """
    kinds: dict[Path, str] = {}
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4]
        for escape, character in _ESCAPED.items():
            point = point.replace(escape, character)
        kinds[Path(point)] = after.split(" ")[0]  # of several mounts at one place the last one counts
    absolute = directory.resolve()
    kind = next(kinds[place] for place in (absolute, *absolute.parents) if place in kinds)
    return kind if kind in _OF_ONE_MACHINE else None

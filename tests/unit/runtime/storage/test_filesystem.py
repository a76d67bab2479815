"""What a file system says of itself, and what is made of it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from distill_runtime.storage.filesystem import free_bytes, local_kind

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - overlay overlay rw
31 22 8:17 / /data rw,relatime shared:2 - ext4 /dev/sdb1 rw
32 31 0:50 / /data/shared rw,relatime shared:3 - nfs4 server:/export rw,vers=4.2
33 22 0:51 / /with\040space rw - xfs /dev/sdc rw
34 22 0:52 / /lustre rw - lustre mgs:/fs rw
35 22 0:53 / /twice rw - ext4 /dev/sdd rw
36 35 0:54 / /twice rw - ceph mon:/ rw
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/data", "ext4"),
        ("/data/npu-distill/team-a", "ext4"),
        ("/data/shared/models", None),
        ("/database", None),
        ("/with space/x", "xfs"),
        ("/lustre", None),
        ("/twice", None),
    ],
)
def test_a_file_system_of_one_machine_is_told_from_a_shared_one(
    tmp_path: Path, directory: str, kind: str | None
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS.lstrip())
    assert local_kind(Path(directory), table) == kind


def test_the_table_of_this_machine_is_read() -> None:
    assert local_kind(Path("/proc")) is None


def test_free_room_is_what_df_says(tmp_path: Path) -> None:
    free = free_bytes(tmp_path)
    assert free is not None
    figures = os.statvfs(tmp_path)
    assert 0 < free <= figures.f_blocks * figures.f_frsize


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Have every file system report so many blocks, and so many of them free, as some network file systems do."""

    def report(blocks: int, available: int) -> None:
        figures = os.statvfs_result((4096, 4096, blocks, available, available, 0, 0, 0, 0, 255))
        monkeypatch.setattr(os, "statvfs", lambda _: figures)

    return report


@pytest.mark.parametrize(("blocks", "available"), [(0, 0), (0, 2**40), (10, 2**50)])
def test_a_size_that_makes_no_sense_is_none(
    reports: Callable[[int, int], None], tmp_path: Path, blocks: int, available: int
) -> None:
    reports(blocks, available)
    assert free_bytes(tmp_path) is None

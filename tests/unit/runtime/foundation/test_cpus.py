"""A container's limit counts, not the node's processors."""

import os
from pathlib import Path

import pytest

from distill_runtime.foundation.cpus import available_cpus

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("content", "cpus"),
    [
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("max 100000", ALL),
        ("100000000 100000", ALL),
        (None, ALL),
    ],
)
def test_available_cpus(tmp_path: Path, content: str | None, cpus: int) -> None:
    if content is not None:
        (tmp_path / "cpu.max").write_text(f"{content}\n")
    assert available_cpus(tmp_path) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [(100_000, 1), (50_000, 1), (-1, ALL), (100_000_000, ALL)])
def test_available_cpus_under_version_1(tmp_path: Path, quota: int, cpus: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cpus(tmp_path) == cpus
